"""Bring a database to the newest revision. Revisions are in migrations/versions, packaged with the code.

A new one: `alembic -c cloud/store/alembic.ini revision -m "what changes"`, then write its upgrade().
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from cloud.store.engine import connect, disconnect


async def run(database: str) -> None:
    """Run what is missing, on a connection that waits for as long as that takes."""
    engine = connect(database, patient=True)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(to_head)
    finally:
        await disconnect(engine)


def to_head(connection: Connection) -> None:
    """Run what is missing, in one transaction that the caller commits."""
    upgrade(connection, "head")


def upgrade(connection: Connection, revision: str) -> None:
    """The same up to a revision."""
    if connection.dialect.name == "sqlite":
        # The driver does not open a transaction for CREATE TABLE, and half a migration is worse than none.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
