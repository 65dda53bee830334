"""The store, on SQLite and on PostgreSQL alike."""

import asyncio
import json
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from cloud.frame import Coded, Frame, Key, Origin, Result
from cloud.store import Filters, Rule, Store, StoreError, migrate
from cloud.store.engine import async_url, connect
from cloud.store.fresh import fresh
from cloud.store.tables import metadata
from common.bundle import Bundle
from common.codec import Container, Layer, unpack
from common.ids import uuid7
from common.types import Detection, Mode
from tests.cloud import tiny
from tests.scalable import tiny as scalable_tiny

EPOCH = str(uuid.uuid4())
ALL = Filters()


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


async def test_a_batch_may_have_more_results_than_a_statement_has_parameters(store: Store, bundle: Bundle) -> None:
    one = result(bundle, 0)
    batch = [replace(one, frame=replace(one.frame, key=("e", EPOCH, seq))) for seq in range(40_000)]
    there = [0, 999, 1000, 39_999]
    await store.insert([result(bundle, seq) for seq in there])
    found = await store._writer.run(lambda connection: fresh(connection, batch, {}))
    assert found == sorted(set(range(40_000)) - set(there))


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
    await store.insert([result(bundle, 0), replace(result(bundle, 1, camera="empty"), detections=[])])
    for filters, there in [
        (Filters(labels=("cat",), min_score=0.9), True),
        (Filters(min_score=0, cameras=("door",)), True),
        (Filters(min_score=0, cameras=("empty",)), False),
        (Filters(cameras=("empty",)), True),
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
    await store.put_picture(sent[0].frame.id, "original", "image/jpeg", b"x")
    await store.put_picture(sent[9].frame.id, "original", "image/jpeg", b"x")
    assert await store.delete_older(1) == 0
    later = time.time_ns() // 1000 + 1
    assert [await store.delete_older(later, limit=4) for _ in range(4)] == [4, 4, 1, 0]  # the newest stays
    assert [r.seq for r in await store.results(ALL, 100)] == [9]
    assert [r.seq for r in await store.results(Filters(labels=("cat", "dog")), 100)] == [9]
    assert await store.picture(sent[0].frame.id, "original") is None and await store.picture(
        sent[9].frame.id, "original"
    )
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


async def test_a_camera_may_come_long_after_results_of_others_have_gone(
    store: Store, bundle: Bundle, database: str
) -> None:
    """Its frames have had none yet: they were to be coded anew, and then the edge was away."""
    others = [result(bundle, seq, camera="yard") for seq in (6, 7)]
    await store.insert(others)
    assert await store.delete_older(time.time_ns() // 1000 + 1) == 1
    late = [result(bundle, seq) for seq in (4, 5)]
    done = await store.insert([late[0], *others])
    assert [r.seq for r in done.new] == [4] and done.duplicates == others
    again = Store(database, 1 << 20)
    await again.open()
    done = await again.insert([*late, *others])
    assert [r.seq for r in done.new] == [5] and done.duplicates == [late[0], *others]
    await again.close()


async def test_what_was_deleted_before_cameras_were_told_apart_does_not_come_back(
    database: str, bundle: Bundle
) -> None:
    engine = connect(database)
    async with engine.connect() as connection:
        await connection.run_sync(lambda c: migrate.upgrade(c, "0005"))
        await connection.execute(text(f"INSERT INTO aged VALUES ('e', '{EPOCH}', 7)"))
        await connection.commit()
    await engine.dispose()
    store = Store(database, 1 << 20)
    await store.open()
    assert await store.stored_up_to("e", EPOCH) == 7
    done = await store.insert([result(bundle, seq) for seq in (7, 8)])
    assert [r.seq for r in done.new] == [8] and len(done.duplicates) == 1
    await store.close()


async def test_pictures_are_bounded(store: Store) -> None:
    content = bytes(400_000)
    for i in range(4):
        await store.put_picture(f"frame-{i}", "original", "image/jpeg", content)
        await store.put_picture(f"frame-{i}", "original", "image/jpeg", b"a second answer changes nothing")
    there = [i for i in range(4) if await store.picture(f"frame-{i}", "original")]
    assert there == [2, 3]
    picture = await store.picture("frame-3", "original")
    assert picture and picture.data == content and picture.content_type == "image/jpeg"


def layered(held: Bundle, seq: int) -> Result:
    """A result with one coded layer of 1000 bytes."""
    container = Container(held.prefix, 5, 256, 64, 48, [Layer(0, bytes([seq]) * 1000), Layer(128, b"a shadow")])
    frame = Frame(
        key=("e", EPOCH, seq),
        id=uuid7(),
        camera="door",
        captured_us=1,
        accepted_us=2,
        received_us=3,
        expires_us=None,
        source_bytes=9,
        coded_bytes=1019,
        timing={},
        bundle=held,
        container=container,
        settle=lambda *_: None,
    )
    return Result(frame, Origin(Mode.SPLIT, "latent"), [], {}, time.monotonic_ns())


@pytest.fixture(scope="module")
def scalable(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return scalable_tiny.write(tmp_path_factory.mktemp("scalable"))


async def test_coded_layers_are_kept_with_the_result(store: Store, bundle: Bundle, scalable: Bundle) -> None:
    one, plain = layered(scalable, 1), result(bundle, 2)
    by_jpeg = replace(layered(scalable, 3), origin=Origin(Mode.IMAGE, "picture"))
    await store.insert([one, plain, by_jpeg])
    await store.insert([layered(scalable, 1)])  # sent again
    assert await store.layers(one.frame.id, [0, 1, 128]) == [Layer(0, bytes([1]) * 1000)]
    assert not await store.layers(plain.frame.id, [0]) and not await store.layers(by_jpeg.frame.id, [0])
    await store.keep(one.frame.id, Coded((Layer(1, b"first"),)))
    await store.keep(one.frame.id, Coded((Layer(0, b"new"), Layer(1, b"better"))))
    assert await store.layers(one.frame.id, [0, 1]) == [Layer(0, b"new"), Layer(1, b"better")]
    assert await store.layers(one.frame.id, [1]) == [Layer(1, b"better")]
    await store.keep(one.frame.id, Coded((Layer(2, b"upon both"),)))
    assert not await store.keep(one.frame.id, Coded((Layer(1, b"coded otherwise"),)))  # another is built upon
    assert (await store.layers(one.frame.id, [0, 1, 2]))[1:] == [Layer(1, b"better"), Layer(2, b"upon both")]
    assert await store.keep(one.frame.id, Coded((Layer(1, b"other"), Layer(2, b"upon the other"))))
    assert (await store.layers(one.frame.id, [1, 2]))[0] == Layer(1, b"other")
    assert await store.drop_layers(one.frame.id, [1]) == 2  # what is upon it cannot be decoded either
    assert await store.layers(one.frame.id, [0, 1]) == [Layer(0, b"new")]


async def test_coded_layers_are_bounded_in_bytes(scalable: Bundle, database: str) -> None:
    """The oldest give way, also to those that were asked for, and the sum outlives a restart."""
    sent = [layered(scalable, seq) for seq in range(40)]
    store = Store(database, 1 << 20, 10_000)
    await store.open()
    for one in sent[:20]:
        await store.insert([one])
    await store.close()
    store = Store(database, 1 << 20, 10_000)
    await store.open()

    async def there() -> list[int]:
        return [i for i, one in enumerate(sent) if await store.layers(one.frame.id, [0])]

    assert await there() == list(range(10, 20))
    await store.insert(sent[20:])  # more than all the room, at once
    kept = await there()
    assert 0 < len(kept) <= 10 and all(i >= 20 for i in kept)
    for _ in range(3):  # a second one takes the place of the first: there is room for it
        await store.keep(sent[0].frame.id, Coded((Layer(0, bytes(100)), Layer(1, bytes(9000)))))
    assert len(await there()) <= 1 and await store.layers(sent[0].frame.id, [1])
    assert len(await store.results(ALL, 100)) == 40
    await store.close()


async def test_enhancements_go_before_what_they_build_on(scalable: Bundle, database: str) -> None:
    store = Store(database, 1 << 20, 10_000)
    await store.open()
    sent = [layered(scalable, seq) for seq in range(9)]
    for one in sent[:5]:
        await store.insert([one])
    old = sent[0].frame.id
    assert await store.keep(old, Coded((Layer(1, bytes(4000)), Layer(2, bytes(1000)))))  # 10000 bytes are here now
    for one in sent[5:]:  # those of the others go first: this frame's layers are as new as its newest
        await store.insert([one])
    assert [layer.kind for layer in await store.layers(old, [0, 1, 2])] == [0, 1, 2]
    assert not await store.layers(sent[1].frame.id, [0])
    later = time.time_ns() // 1000 + 1
    seen = set()
    while await store.delete_older_layers(later, limit=1):
        seen.add(tuple(layer.kind for layer in await store.layers(old, [0, 1, 2])))
    assert seen <= {(0, 1, 2), (0, 1), (0,), ()} and {(0, 1), (0,), ()} <= seen
    assert not await store.keep(old, Coded((Layer(1, b"what it builds on is gone"),)), (0,))
    assert not await store.layers(old, [1])
    await store.close()


async def test_the_sum_of_layers_is_that_of_the_rows(scalable: Bundle, database: str) -> None:
    store = Store(database, 1 << 20, 10_000)
    await store.open()
    sent = [layered(scalable, seq) for seq in range(12)]

    async def counted() -> bool:
        async with store._engine.connect() as connection:
            rows = (await connection.execute(text("SELECT coalesce(sum(size), 0) FROM layers"))).scalar_one()
        return int(rows) == store._layer_bytes

    await store.insert(sent)  # more than there is room for
    assert await counted() and store._layer_bytes > 0
    frame = sent[-1].frame.id
    for size in (100, 70, 1300):  # in the place of the one before
        await store.keep(frame, Coded((Layer(0, bytes(size)), Layer(1, bytes(size)))))
        assert await counted()
    await store.drop_layers(frame, [1])
    assert await counted()
    later = time.time_ns() // 1000 + 1
    assert await store.delete_older(later, limit=8) == 8 and await counted()
    assert await store.delete_older_layers(later, limit=1) == 1 and await counted()
    assert store._layer_bytes > 0
    await store.close()


async def test_what_the_database_refuses_is_an_error_of_the_store(store: Store) -> None:
    rule = Rule("b", None, "person", 0.5, "full", None, 10)
    async with store._engine.begin() as connection:
        await connection.execute(text("DROP TABLE rules"))
        await connection.execute(text("DROP TABLE pictures"))
    for failing in (store.put_rule(rule), store.delete_rule("b"), store.rules(), store.picture("f", "original")):
        with pytest.raises(StoreError):
            await failing
    with pytest.raises(StoreError, match="cannot keep a picture"):
        await store.put_picture("f", "original", "image/jpeg", b"x")


async def test_coded_layers_age_and_go_with_their_results(store: Store, scalable: Bundle) -> None:
    sent = [layered(scalable, seq) for seq in range(6)]
    await store.insert(sent)
    assert await store.delete_older_layers(1) == 0
    later = time.time_ns() // 1000 + 1
    assert await store.delete_older(later, limit=2) == 2
    assert [bool(await store.layers(one.frame.id, [0])) for one in sent] == [False] * 2 + [True] * 4
    assert [await store.delete_older_layers(later, limit=3) for _ in range(3)] == [3, 1, 0]
    assert len(await store.results(ALL, 100)) == 4


async def test_rules_are_kept(store: Store) -> None:
    some = Rule("b", None, "person", 0.5, "full", None, 10)
    other = Rule("a", "door", None, 0.25, "mask", 300, 600)
    for rule in (some, other, replace(some, label="cat")):
        await store.put_rule(rule)
    assert await store.rules() == [other, replace(some, label="cat")]
    assert [await store.delete_rule("b") for _ in range(2)] == [True, False]
    assert await store.rules() == [other]


async def test_pictures_of_before_are_originals(database: str) -> None:
    """They were called `full` when there was nothing else."""
    engine = connect(database)
    async with engine.connect() as connection:
        await connection.run_sync(lambda c: migrate.upgrade(c, "0002"))
        values = "('f', 'full', 'image/jpeg', 'x', 1, 1, '')"
        await connection.execute(text(f"INSERT INTO pictures VALUES {values}"))
        await connection.commit()
    await engine.dispose()
    store = Store(database, 1 << 20)
    await store.open()
    assert await store.picture("f", "original") and not await store.picture("f", "full")
    await store.close()


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
