"""The store when PostgreSQL is away, silent, slow, or refuses what it is given."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from cloud.store import Filters, Store, StoreError, migrate
from common.bundle import Bundle
from common.types import Detection
from tests.cloud.test_store import result

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
ALL = Filters()


async def frozen(store: Store) -> set[int]:
    """Have the server's processes for this database fall silent; their ids."""
    async with store._engine.connect() as connection:
        ours = "datname = current_database() AND backend_type = 'client backend'"
        query = text(f"SELECT pid FROM pg_stat_activity WHERE {ours}")
        processes = set((await connection.execute(query)).scalars())
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    return processes


async def test_a_lost_connection_is_made_again(store: Store, bundle: Bundle) -> None:
    await store.insert([result(bundle, 0)])
    async with store._engine.connect() as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    with pytest.raises(StoreError, match="cannot store"):
        await store.insert([result(bundle, 1)])
    done = await store.insert([result(bundle, 0), result(bundle, 1)])
    assert ([r.seq for r in done.new], len(done.duplicates)) == ([1], 1)


async def test_a_database_that_falls_silent_is_not_waited_for(
    database: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("_ANSWER_SECONDS", "_CLOSE_SECONDS"):
        monkeypatch.setattr(f"cloud.store.engine.{seconds}", 2)
    store = Store(database, 1 << 20)
    await store.open()
    sent = [result(bundle, seq) for seq in range(4)]
    await store.insert(sent[:1])
    processes = await frozen(store)
    try:
        with pytest.raises(StoreError, match="cannot store 1 results: TimeoutError"):
            await store.insert(sent[1:2])
        with pytest.raises(StoreError, match="does not answer"):
            await store.ping()
        assert [r.seq for r in (await store.insert(sent[1:3])).new] == [1, 2]  # by new connections
        assert len(await store.results(ALL, 10)) == 3
        processes |= await frozen(store)
        storing = asyncio.create_task(store.insert(sent[3:]))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await store.close()
        with pytest.raises(StoreError):
            await storing
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


async def test_a_migration_may_take_longer_than_a_statement(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = migrate.upgrade

    def slow(connection: Connection, revision: str) -> None:
        upgrade(connection, revision)
        connection.execute(text("SELECT pg_sleep(3)"))

    monkeypatch.setattr(migrate, "upgrade", slow)
    store = Store(f"{database}?command_timeout=2", 1 << 20)
    await store.open()
    await store.close()


@pytest.mark.parametrize("label", ["a\0b", "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))], ids=["NUL", "long"])
async def test_a_label_that_cannot_be_stored_costs_its_own_result(store: Store, bundle: Bundle, label: str) -> None:
    a, b = result(bundle, 0), result(bundle, 2)
    bad = replace(result(bundle, 1), detections=[Detection(label, 0.5, (0.0, 0.0, 1.0, 1.0))])
    done = await store.insert([a, bad, b])
    assert [r.seq for r in done.new] == [0, 2] and not done.clashes
    ((refused, _),) = done.rejected
    assert refused is bad
