"""The one connection that writes, in a thread of its own.

A transaction is a function of the connection, run in that thread from its begin to its commit. A batch of results is a
dozen statements: with a driver that is awaited for each of them, the way to its thread and back cost more than SQLite.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.engine import connect, connect_sqlite, disconnect, is_sqlite

T = TypeVar("T")
Work = Callable[[Connection], T]


class _Session(Protocol):
    """A connection as the thread uses it."""

    def open(self) -> None: ...

    def transact(self, work: Work[T]) -> T: ...

    def close(self) -> None: ...


class Writer:
    """`open` it, `run` transactions, `close` it. They run one after the other, in the order in which they were asked
    for; whoever stops waiting for one that runs does not stop it.
    """

    def __init__(self, database: str) -> None:
        self._session: _Session = _Called(database) if is_sqlite(database) else _Asked(database)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    async def open(self) -> None:
        """Connect. Raises what SQLAlchemy raises; then it may be tried again."""
        await self._in_thread(self._session.open)

    async def run(self, work: Work[T]) -> T:
        """One transaction: committed when this returns, rolled back when it raises."""
        return await self._in_thread(lambda: self._session.transact(work))

    async def close(self) -> None:
        """Finish what runs and let go of the connection."""
        await self._in_thread(self._session.close)
        self._thread.shutdown()

    async def _in_thread(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)


class _Called:
    """SQLite, by a driver that is called."""

    def __init__(self, database: str) -> None:
        self._engine = connect_sqlite(database)
        self._connection: Connection | None = None

    def open(self) -> None:
        if self._engine.url.database:
            Path(self._engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._engine.connect()

    def transact(self, work: Work[T]) -> T:
        assert self._connection is not None
        with self._connection.begin():
            return work(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


class _Asked:
    """A database whose driver is awaited: on an event loop of the thread's own, which runs while there is work."""

    def __init__(self, database: str) -> None:
        self._engine = connect(database)
        self._runner = asyncio.Runner()
        self._connection: AsyncConnection | None = None

    def open(self) -> None:
        self._runner.run(self._open())

    async def _open(self) -> None:
        self._connection = await self._engine.connect()

    def transact(self, work: Work[T]) -> T:
        return self._runner.run(self._transact(work))

    async def _transact(self, work: Work[T]) -> T:
        assert self._connection is not None
        async with self._connection.begin():
            return await self._connection.run_sync(work)

    def close(self) -> None:
        with self._runner:
            self._runner.run(self._close())

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        await disconnect(self._engine)
