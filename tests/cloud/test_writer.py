"""The store's writer when who waits for it goes away, on SQLite and on PostgreSQL alike."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from cloud.store import Filters, Store
from cloud.store.writer import Writer
from common.bundle import Bundle
from tests.cloud.test_store import result

WRITE = text("INSERT INTO seen VALUES (:number)")


class Gate:
    """Transactions that stop in their middle until they may go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def work(self, connection: Connection) -> None:
        connection.execute(WRITE, {"number": 1})
        self.entered.set()
        self.open.wait()


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.open.set()  # whatever failed, the thread must end


async def ready(database: str) -> Writer:
    writer = Writer(database)
    await writer.open()
    await writer.run(lambda connection: connection.execute(text("CREATE TABLE seen (number INTEGER)")))
    return writer


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT number FROM seen ORDER BY number")).scalars())


async def interrupted(waiting: "asyncio.Task[None]", gate: Gate) -> None:
    """Cancel who waits for a transaction that has begun."""
    await asyncio.to_thread(gate.entered.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_nobody_waits_for_any_more_is_committed_before_what_comes_next(database: str, gate: Gate) -> None:
    writer = await ready(database)
    await interrupted(asyncio.create_task(writer.run(gate.work)), gate)
    following = asyncio.create_task(writer.run(numbers))
    await asyncio.sleep(0)
    gate.open.set()
    assert await following == [1]
    await writer.close()


async def test_closing_lets_what_runs_come_to_its_end(database: str, gate: Gate) -> None:
    writer = await ready(database)
    await interrupted(asyncio.create_task(writer.run(gate.work)), gate)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    gate.open.set()
    await closing
    again = Writer(database)
    await again.open()
    assert await again.run(numbers) == [1]
    await again.close()


async def test_what_fails_is_rolled_back_and_the_next_goes_on(database: str) -> None:
    writer = await ready(database)

    def failing(connection: Connection) -> None:
        connection.execute(WRITE, {"number": 1})
        raise LookupError("in the middle")

    with pytest.raises(LookupError, match="in the middle"):
        await writer.run(failing)
    assert await writer.run(numbers) == []
    await writer.close()


async def test_results_that_were_being_stored_when_their_writer_went_are_stored_once(
    database: str, bundle: Bundle, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database, 1 << 20)
    await store.open()
    put = store._put

    def slow(connection: Connection, batch: object) -> object:
        done = put(connection, batch)  # type: ignore[arg-type]
        gate.entered.set()
        gate.open.wait()
        return done

    sent = [result(bundle, seq) for seq in range(6)]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_put", slow)
        storing = asyncio.create_task(store.insert(sent[:4]))
        await asyncio.to_thread(gate.entered.wait)
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
    again = asyncio.create_task(store.insert(sent))
    await asyncio.sleep(0)
    gate.open.set()
    done = await again
    assert done.duplicates == sent[:4]
    assert [(r.seq, r.number) for r in done.new] == [(4, 5), (5, 6)]
    rows = await store.results(Filters(), 10, newest_first=False)
    assert [(r.seq, r.number) for r in rows] == [(seq, seq + 1) for seq in range(6)]
    ids = [
        found["track_id"] for row in rows for found in row.found() if found["label"] == "cat" and "track_id" in found
    ]
    assert len(ids) == 5 and len(set(ids)) == 1
    await store.close()
