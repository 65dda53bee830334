"""Bring a database to the newest revision. Revisions are in migrations/versions, packaged with the code.

A new one: `alembic -c cloud/store/alembic.ini revision -m "what changes"`, then write its upgrade().
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def to_head(connection: Connection) -> None:
    """Run what is missing, in the transaction of this connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
