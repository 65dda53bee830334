"""Containers and enhancements in the ring: kept beside their pictures, no longer and no more of them."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge.spool import RingError, now_us
from edge.spool.book import Book
from edge.spool.reader import Reader
from tests.edge.test_spool import LIMITS, frame, opened, size_of


async def test_a_record_is_the_picture_and_its_container(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        one = await spool.put(frame(b"sent", b"seen", container=b"kept"))
        two = await spool.put(frame(b"sent", b"seen"))
        for _ in range(2):
            kept = [await spool.picture(each.frame_id) for each in (one, two)]
            assert [(each.data, each.container) for each in kept] == [(b"seen", b"kept"), (b"seen", b"")]
            assert await spool.unlayered(10) == [one.frame_id], "of the other nothing can be coded"
        assert await spool.unlayered(1) == [], "only of the newest"


async def test_the_bundle_of_a_frame_that_waits_is_needed(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        waits = await spool.put(frame(bundle=b"one"))
        await spool.put(frame(bundle=b"two", container=b"kept"))
        spool.finish(2, "done")
        await spool.settle()
        assert await spool.bundles() == {b"one", b"two"}, "it may have to be coded again"
        spool.finish(waits.seq, "done")
        await spool.settle()
        assert await spool.bundles() == {b"two"}


async def test_layers_are_kept_as_long_as_their_picture(tmp_path: Path) -> None:
    async with opened(tmp_path, ring_max_bytes=50_000) as spool:
        first = await spool.put(frame(picture=bytes(2000), container=b"kept"))
        spool.keep_layer(first.frame_id, 1, 256, b"full" * 100)
        spool.keep_layer(first.frame_id, 2, 256, b"more" * 100)
        spool.keep_layer(first.frame_id, 1, 256, b"anew" * 100)
        spool.keep_layer("nobody", 1, 256, b"lost")
        spool.keep_layer(first.frame_id, 3, 256, bytes(50_000))
        await spool.settle()
        expected = {(1, 256): b"anew" * 100, (2, 256): b"more" * 100}
        assert await spool.layers(first.frame_id) == expected and not await spool.unlayered(10)
    async with opened(tmp_path, ring_max_bytes=50_000) as spool:
        assert await spool.layers(first.frame_id) == expected, "kept over a restart"
        for _ in range(15):
            spool.keep_layer(first.frame_id, 1, 256, os.urandom(2000))
            spool.keep_layer((await spool.put(frame(picture=bytes(2000)))).frame_id, 1, 256, os.urandom(1000))
        assert spool.stats.picture_bytes <= 50_000 and size_of(tmp_path / "pictures") <= 50_000
        assert (await spool.picture(first.frame_id)).gone == "shed: ring full"
        assert await spool.layers(first.frame_id) == {}, "of no use without it, though later on disk"


async def test_two_qualities_of_a_layer_are_kept_however_many_are_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(container=b"kept"))
        kept = [await spool.keep_layer(accepted.frame_id, 1, quality, bytes(1000)) for quality in range(256, 300)]
        assert kept == [True] * 2 + [False] * 42
        assert await spool.keep_layer(accepted.frame_id, 2, 300, bytes(1000))
        assert not await spool.keep_layer("nobody", 1, 256, b"lost")
        assert list(await spool.layers(accepted.frame_id)) == [(1, 256), (1, 257), (2, 300)]
        assert spool.stats.picture_bytes == len(b"picture" + b"kept") + 3 * 1000


async def test_an_enhancement_makes_no_picture_younger(tmp_path: Path) -> None:
    long_ago = now_us() - 600_000_000
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(picture=bytes(20_000), container=b"kept", accepted_us=long_ago))
        await spool.keep_layer(accepted.frame_id, 1, 256, bytes(5000))
        await spool.keep_layer(accepted.frame_id, 2, 256, bytes(20_000))
        assert [s.newest_us for s in spool._book.ring.segments.values()] == [long_ago] * 2
    async with opened(tmp_path) as spool:
        assert [s.newest_us for s in spool._book.ring.segments.values()] == [long_ago] * 2, "nor does a restart"
        assert len(await spool.layers(accepted.frame_id)) == 2
    async with opened(tmp_path, ring_max_age_s=300) as spool:
        await spool.settle()
        assert (await spool.picture(accepted.frame_id)).gone == "aged out"
        assert spool.stats.picture_bytes == 0


async def test_what_goes_without_its_enhancement_is_noted(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        one, two = [await spool.put(frame(pixels="sent", container=b"kept")) for _ in range(2)]
        spool.left_out(one.seq, "shed: why")
        await spool.settle()
        assert [f.pixels for f in await spool.pending(0, 10, 1000)] == ["shed: why", "sent"]
        records = [await spool.record(each.frame_id) for each in (one, two)]
        assert [r and r.pixels for r in records] == ["shed: why", "sent"]
        assert await spool.unlayered(10) == [one.frame_id]


async def test_a_damaged_layer_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(container=b"kept"))
        spool.keep_layer(accepted.frame_id, 1, 256, b"x" * 1000)
        await spool.settle()
        (segment,) = (tmp_path / "pictures").iterdir()
        segment.write_bytes(segment.read_bytes()[:-1] + b"y")
        assert await spool.layers(accepted.frame_id) == {}
        assert (await spool.picture(accepted.frame_id)).data == b"picture"


async def test_what_cannot_be_read_is_not_said_to_be_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(container=b"kept"))
        await spool.keep_layer(accepted.frame_id, 1, 256, b"full")
        (segment,) = (tmp_path / "pictures").iterdir()
        there = segment.rename(tmp_path / "there")
        segment.symlink_to(segment)
        for ask in (spool.picture, spool.container):
            with pytest.raises(RingError, match="symbolic links"):
                await ask(accepted.frame_id)
        assert await spool.layers(accepted.frame_id) == {}, "they can be coded again"
        there.rename(segment)
        assert (await spool.picture(accepted.frame_id)).data == b"picture"
        segment.unlink()
        assert (await spool.picture(accepted.frame_id)).gone == "shed: disk full"


async def test_a_picture_that_goes_while_it_is_looked_up_says_why(tmp_path: Path) -> None:
    book = Book(tmp_path, replace(LIMITS, ring_max_bytes=50_000))

    def put() -> str:
        book.begin()
        accepted = book.put(frame(picture=bytes(5000)))
        book.commit()
        return accepted.frame_id

    def found(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> tuple[object, ...]:
        """The row was read, the file was not."""
        reader._db.row_factory = None
        for _ in range(20):
            put()
        return row

    reader, frame_id = Reader(book), put()
    reader._db.row_factory = found
    assert reader.picture(frame_id).gone == "shed: ring full"
    reader.close()
    book.close()


async def test_a_spool_without_containers_keeps_its_pictures(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame())
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        db.executescript(
            "ALTER TABLE frames DROP COLUMN pixels; DROP TABLE layers; ALTER TABLE pictures DROP COLUMN coded;"
            "ALTER TABLE pictures DROP COLUMN bundle;"
            "PRAGMA user_version=2"
        )
    async with opened(tmp_path) as spool:
        kept = await spool.picture(accepted.frame_id)
        assert kept.data == b"picture" and not kept.container
        assert (await spool.put(frame(container=b"kept"))).seq > accepted.seq
