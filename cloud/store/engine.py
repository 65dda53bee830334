"""A connection pool to SQLite or PostgreSQL, set up the way the promises need."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
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


def is_sqlite(database: str) -> bool:
    """Whether this is a database of SQLite's."""
    return make_url(database).get_backend_name() == "sqlite"


def connect(database: str) -> AsyncEngine:
    """The pool. Nothing is connected yet."""
    if not is_sqlite(database):
        return create_async_engine(async_url(database), pool_pre_ping=True)
    engine = create_async_engine(async_url(database))
    _prepare(engine.sync_engine)
    return engine


def connect_sqlite(database: str) -> Engine:
    """The same of SQLite for a thread that waits for it."""
    engine = create_engine(make_url(database).set(drivername="sqlite"))
    _prepare(engine)
    return engine


def _prepare(engine: Engine) -> None:
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _set_pragmas)


def _set_pragmas(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
