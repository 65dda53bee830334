"""A connection pool to SQLite or PostgreSQL, set up the way the promises need."""

import asyncio
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_CONNECT_SECONDS = 10
_CLOSE_SECONDS = 10
_ANSWER_SECONDS = 60
"""How long a statement may take at PostgreSQL, unless the URL has a `command_timeout`: who waits for a server that has
fallen silent writes nothing and cannot be stopped.
"""
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

# FULL: a commit has reached the disk when it returns, so an ack may follow. WAL: readers do not block the writer.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "temp_store=MEMORY", "cache_size=-16000")


def check(database: str) -> None:
    """Raise ValueError, saying why, if this URL is of no database that can be used."""
    try:
        url = make_url(database)
    except (ArgumentError, ValueError) as e:
        raise ValueError(f"is not the URL of a database: {e}") from e
    kind = url.get_backend_name()
    if kind not in _DRIVERS:
        raise ValueError("must start with sqlite:/// or postgresql://")
    if kind != "sqlite":
        return
    if url.host:
        raise ValueError("names a host, and SQLite has none: a path follows three slashes, as in sqlite:///path")
    if url.database in (None, "", ":memory:") or url.query.get("mode") == "memory":
        raise ValueError("names no file: in memory, who reads would have another database than who writes")


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


def connect(database: str, *, patient: bool = False) -> AsyncEngine:
    """The pool. Nothing is connected yet. One that is `patient` lets statements take as long as they need."""
    url = async_url(database)
    if not is_sqlite(database):
        answer_s = None if patient else url.query.get("command_timeout", _ANSWER_SECONDS)
        timeouts = {"timeout": _CONNECT_SECONDS, "command_timeout": answer_s}
        return create_async_engine(url, pool_pre_ping=True, connect_args=timeouts)
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


async def disconnect(engine: AsyncEngine) -> None:
    """Close its connections, without waiting long for a server that has fallen silent."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await engine.dispose()


def connect_sqlite(database: str) -> Engine:
    """The same of SQLite for a thread that waits for it."""
    engine = create_engine(make_url(database).set(drivername="sqlite"))
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
