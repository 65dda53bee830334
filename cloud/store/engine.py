"""A connection pool to SQLite or PostgreSQL, set up the way the promises need."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

# FULL: a commit has reached the disk when it returns, so an ack may follow. WAL: readers do not block the writer.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "temp_store=MEMORY", "cache_size=-16000")


def async_url(database: str) -> URL:
    """The URL with its asynchronous driver. libpq's `sslmode` is what asyncpg calls `ssl`."""
    url = make_url(database)
    url = url.set(drivername=_DRIVERS[url.get_backend_name()])
    if "sslmode" in url.query:
        url = url.update_query_pairs([("ssl", str(url.query["sslmode"]))]).difference_update_query(["sslmode"])
    return url


def connect(database: str) -> AsyncEngine:
    """The pool. Nothing is connected yet."""
    url = async_url(database)
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
