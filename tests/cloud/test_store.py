"""The store, on SQLite and on PostgreSQL alike."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from cloud.frame import Frame, Key, Origin, Result
from cloud.store import Filters, Store, StoreError, migrate
from cloud.store.engine import async_url, connect
from cloud.store.tables import metadata
from common.bundle import Bundle
from common.codec import unpack
from common.ids import uuid7
from common.types import Detection, Mode
from tests.cloud import tiny

EPOCH = str(uuid.uuid4())
ALL = Filters()


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    one = Store(database, 1 << 20)
    await one.open()
    yield one
    await one.close()


def result(bundle: Bundle, seq: int, camera: str = "door", edge: str = "e", **fields: object) -> Result:
    key: Key = (edge, EPOCH, seq)
    payload = tiny.payload(bundle)
    values = {
        "key": key,
        "id": uuid7(),
        "camera": camera,
        "captured_us": 1_000_000 + seq,
        "accepted_us": 2,
        "received_us": 3,
        "expires_us": None,
        "source_bytes": 2**31 + 1,
        "coded_bytes": len(payload),
        "timing": {"front": 1.5},
        "bundle": bundle,
        "container": unpack(payload),
        "settle": lambda *_: None,
    } | fields
    found = [Detection("cat", 0.9, (1.0, 2.0, 3.5, 4.0)), Detection("dog", 0.3, (0.0, 0.0, 1.0, 1.0))]
    return Result(Frame(**values), Origin(Mode.SPLIT, "lightweight"), found, {"back": 2.5}, time.monotonic_ns())  # type: ignore[arg-type]


async def test_what_goes_in_comes_out(store: Store, bundle: Bundle) -> None:
    one = result(bundle, 7)
    (row,) = (await store.insert([one])).new
    assert await store.result(one.frame.id) == row == await store.result_of(one.frame.key)
    assert (row.number, row.seq, row.source_bytes, row.best_score) == (1, 7, 2**31 + 1, 0.9)
    assert row.found()[0] == {"label": "cat", "score": 0.9, "box": [1.0, 2.0, 3.5, 4.0]}
    assert list(json.loads(row.timing)) == ["front", "back", "store"]


async def test_any_label_is_stored_as_json(store: Store, bundle: Bundle) -> None:
    one = result(bundle, 1)
    odd = Detection('a "quoted" \\ label, ünï\n', 0.5, (0.0, 1e-05, 2.25, 1e20))
    (row,) = (await store.insert([replace(one, detections=[odd])])).new
    assert row.found() == [{"label": odd.label, "score": 0.5, "box": list(odd.box)}]
    assert await store.results(Filters(labels=(odd.label,)), 1) == [row]


async def test_each_packet_once_however_it_comes(store: Store, bundle: Bundle) -> None:
    a, b, c = (result(bundle, seq) for seq in range(3))
    again = result(bundle, 1)  # another frame id: the packet is the same
    first = await store.insert([a, b])
    second = await store.insert([again, c, c])
    assert [r.seq for r in first.new] == [0, 1] and not first.duplicates
    assert [r.seq for r in second.new] == [2] and second.duplicates == [again, c]
    assert await store.stored_up_to("e", EPOCH) == 2
    assert await store.stored_up_to("e", str(uuid.uuid4())) == -1
    rows = await store.results(ALL, 10, newest_first=False)
    assert [r.id for r in rows] == [a.frame.id, b.frame.id, c.frame.id]
    (camera,) = await store.cameras()
    assert (camera.frames, camera.first_us, camera.last_us, camera.last) == (3, 1_000_000, 1_000_002, rows[-1])


async def test_a_clash_harms_nobody_else(store: Store, bundle: Bundle) -> None:
    a = result(bundle, 0)
    thief = result(bundle, 1, id=a.frame.id)
    b = result(bundle, 2)
    done = await store.insert([a, thief, b])
    assert [r.seq for r in done.new] == [0, 2] and done.clashes == [thief]
    assert [r.number for r in done.new] == sorted(r.number for r in done.new)
    assert (await store.cameras())[0].frames == 2


async def test_what_the_database_refuses_is_no_clash(store: Store, bundle: Bundle) -> None:
    a, bad, b = result(bundle, 0), result(bundle, 1, accepted_us=None), result(bundle, 2)
    done = await store.insert([a, bad, b])
    assert [r.seq for r in done.new] == [0, 2] and not done.clashes
    ((refused, why),) = done.rejected
    assert refused is bad and "accepted_us" in why


async def test_numbers_go_on_after_a_restart(store: Store, bundle: Bundle, database: str) -> None:
    await store.insert([result(bundle, 0), result(bundle, 1)])
    other = Store(database, 1 << 20)
    await other.open()
    (row,) = (await other.insert([result(bundle, 2)])).new
    await other.close()
    assert row.number == 3
    # The first did not hear of it, and still nothing is lost.
    assert [r.number for r in (await store.insert([result(bundle, 3)])).new] == [4]


async def test_filters_by_label_and_score(store: Store, bundle: Bundle) -> None:
    await store.insert([result(bundle, 0)])
    for filters, there in [
        (Filters(labels=("cat",), min_score=0.9), True),
        (Filters(labels=("dog",), min_score=0.31), False),
        (Filters(labels=("bird",)), False),
        (Filters(labels=("bird", "dog")), True),
        (Filters(min_score=0.9), True),
        (Filters(min_score=0.91), False),
        (Filters(cameras=("door",), edges=("e",), since_us=1_000_000, until_us=1_000_001), True),
        (Filters(until_us=1_000_000), False),
        (Filters(cameras=("'; DROP TABLE results; --",)), False),
    ]:
        assert bool(await store.results(filters, 1)) == there, filters


async def test_readers_see_whole_batches_in_order(store: Store, bundle: Bundle) -> None:
    """While one writes, a reader who follows the numbers sees each once."""
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 200:
            rows = await store.results(ALL, 17, newest_first=False, past=seen[-1] if seen else 0)
            seen.extend(r.number for r in rows)

    async with asyncio.timeout(30):
        following = asyncio.create_task(follow())
        for start in range(0, 200, 8):
            await store.insert([result(bundle, seq) for seq in range(start, start + 8)])
        await following
    assert seen == list(range(1, 201))


async def test_old_results_go_and_do_not_come_back(store: Store, bundle: Bundle, database: str) -> None:
    sent = [result(bundle, seq, edge="ef"[seq % 2]) for seq in range(10)]
    await store.insert(sent)
    await store.put_picture(sent[0].frame.id, "full", "image/jpeg", b"x")
    await store.put_picture(sent[9].frame.id, "full", "image/jpeg", b"x")
    assert await store.delete_older(1) == 0
    later = time.time_ns() // 1000 + 1
    assert [await store.delete_older(later, limit=4) for _ in range(4)] == [4, 4, 1, 0]  # the newest stays
    assert [r.seq for r in await store.results(ALL, 100)] == [9]
    assert [r.seq for r in await store.results(Filters(labels=("cat", "dog")), 100)] == [9]
    assert await store.picture(sent[0].frame.id, "full") is None and await store.picture(sent[9].frame.id, "full")
    async with store._engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM found"))).scalar() == 2
    again = Store(database, 1 << 20)
    await again.open()
    for one in (store, again):  # also after a restart
        assert (await one.stored_up_to("e", EPOCH), await one.stored_up_to("f", EPOCH)) == (8, 9)
        done = await one.insert(sent)
        assert not done.new and done.duplicates == sent
    new = [result(bundle, 10), result(bundle, 8, edge="other")]
    done = await again.insert([*sent, *new])
    await again.close()
    assert [r.seq for r in done.new] == [10, 8] and done.new[0].number > 10
    assert sum(c.frames for c in await store.cameras()) == 12


async def test_pictures_are_bounded(store: Store) -> None:
    content = bytes(400_000)
    for i in range(4):
        await store.put_picture(f"frame-{i}", "full", "image/jpeg", content)
        await store.put_picture(f"frame-{i}", "full", "image/jpeg", b"a second answer changes nothing")
    there = [i for i in range(4) if await store.picture(f"frame-{i}", "full")]
    assert there == [2, 3]
    picture = await store.picture("frame-3", "full")
    assert picture and picture.data == content and picture.content_type == "image/jpeg"


async def test_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store._engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_half_a_migration_leaves_nothing(tmp_path: Path) -> None:
    """As if the process were killed before the commit."""
    engine = connect(f"sqlite:///{tmp_path / 'x.db'}")
    async with engine.connect() as connection:
        await connection.run_sync(migrate.to_head)
        await connection.rollback()
        assert (await connection.execute(text("SELECT name FROM sqlite_master"))).all() == []
    await engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_lost_connection_is_made_again(store: Store, bundle: Bundle) -> None:
    await store.insert([result(bundle, 0)])
    async with store._engine.connect() as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    with pytest.raises(StoreError, match="cannot store"):
        await store.insert([result(bundle, 1)])
    done = await store.insert([result(bundle, 0), result(bundle, 1)])
    assert ([r.seq for r in done.new], len(done.duplicates)) == ([1], 1)


async def test_a_database_of_a_later_version_is_left_alone(store: Store, database: str) -> None:
    async with store._engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999"):
        await Store(database, 1 << 20).open()


async def test_what_is_not_a_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        await Store(f"sqlite:///{path}", 1 << 20).open()


async def test_a_commit_is_on_the_disk(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'x.db'}")
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
    await engine.dispose()


def test_urls_get_their_drivers() -> None:
    for given, wanted in [
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h:1/d?sslmode=require", "postgresql+asyncpg://u@h:1/d?ssl=require"),
        ("sqlite:////tmp/x.db", "sqlite+aiosqlite:////tmp/x.db"),
    ]:
        assert str(async_url(given)) == wanted
