"""A promise is kept through restarts and kills; nothing grows without bound; every frame ends once."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import SettingsError
from common.ids import uuid7
from edge.spool import Accepted, Ended, Frame, KeyReusedError, Limits, Spool, SpoolError, SpoolFullError, now_us
from edge.spool import book as books
from edge.spool.book import Book
from edge.spool.claims import Claims
from edge.spool.records import FRAME_OVERHEAD
from tests.edge.peer import until

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(max_bytes=1 << 20, max_age_s=3600, ring_max_bytes=1 << 19, ring_max_age_s=3600, ledger_max_rows=1000)


def frame(payload: bytes = b"coded", picture: bytes = b"picture", camera: str = "door", **more: object) -> Frame:
    now = now_us()
    made = Frame(uuid7(), camera, now, now, payload, {"front": 1.5}, "image/jpeg", picture)
    return replace(made, **more)


@asynccontextmanager
async def opened(folder: Path, **limits: float) -> AsyncIterator[Spool]:
    spool = Spool(folder, replace(LIMITS, **limits))
    try:
        yield spool
    finally:
        await spool.close()


def seen_by_another_process(path: Path) -> str:
    look = "import sqlite3,sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT seq, payload FROM frames'))"
    return subprocess.run([sys.executable, "-c", look, path], capture_output=True, text=True).stdout.strip()


async def test_what_is_promised_is_on_disk_for_everybody(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(b"payload"))
        seen = await asyncio.to_thread(seen_by_another_process, tmp_path / "spool.db")
        assert seen == f"({accepted.seq}, b'payload')"


_WRITER = """
import asyncio, sys
from pathlib import Path
from tests.edge.test_spool import LIMITS, frame
from edge.spool import Spool
async def one(spool, n):
    for i in range(100000):
        a = await spool.put(frame(f"{n}-{i}".encode() * 50))
        print(a.seq, f"{n}-{i}", flush=True)
async def main():
    spool = Spool(Path(sys.argv[1]), LIMITS)
    await asyncio.gather(*(one(spool, n) for n in range(4)))
asyncio.run(main())
"""


def promises_of_a_killed_writer(folder: Path, acknowledged: int) -> list[list[str]]:
    """Kill it after so many promises; all it printed until it was dead."""
    command = [sys.executable, "-c", _WRITER, folder]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(acknowledged)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.stdout.close()
    writer.wait()
    return [line.split() for line in lines if line.endswith("\n")]  # it may have died in the middle of the last


@pytest.mark.parametrize("acknowledged", [1, 57, 200])
async def test_kill_nine_loses_nothing_that_was_promised(tmp_path: Path, acknowledged: int) -> None:
    lines = await asyncio.to_thread(promises_of_a_killed_writer, tmp_path, acknowledged)
    async with opened(tmp_path) as spool:
        kept = {f.seq: f.payload for f in await spool.pending(0, 10**6, 1 << 30)}
        for seq, name in lines:
            assert kept[int(seq)] == name.encode() * 50
        assert spool.stats.queued == len(kept) and spool.stats.queued_bytes == sum(map(len, kept.values()))


async def test_frames_come_out_in_the_order_they_went_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        promises = [spool.put(frame(str(i).encode())) for i in range(100)]
        accepted = await asyncio.gather(*promises)
        assert [a.seq for a in accepted] == sorted(a.seq for a in accepted)
        first = await spool.pending(0, 30, 1 << 20)
        rest = await spool.pending(first[-1].seq, 1000, 1 << 20)
        assert [f.payload for f in first + rest] == [str(i).encode() for i in range(100)]
        assert len(await spool.pending(0, 100, max_bytes=1)) == 1, "one at least, or a large frame would never leave"


async def test_an_acked_frame_is_done_once_and_leaves_the_queue(tmp_path: Path) -> None:
    ended: list[Ended] = []
    async with opened(tmp_path) as spool:
        spool.on_ended = ended.append
        accepted = await spool.put(frame())
        for _ in range(3):
            spool.finish(accepted.seq, "done")
        spool.finish(accepted.seq, "failed", "late", "news")
        await spool.settle()
        assert await spool.pending(0, 10, 1000) == []
        assert [e.state for e in ended] == ["done"]
        record = await spool.record(accepted.frame_id)
        assert record is not None and record.state == "done" and record.finished_us is not None
    async with opened(tmp_path) as spool:
        assert spool.stats.ended == {("done", ""): 1} and spool.stats.queued == 0


async def test_accepted_is_queued_plus_ended_whatever_happens(tmp_path: Path) -> None:
    async with opened(tmp_path, ledger_max_rows=100) as spool:
        accepted = await asyncio.gather(*(spool.put(frame()) for _ in range(300)))
        for a in accepted[:250]:
            spool.finish(a.seq, ("done", "failed", "expired")[a.seq % 3], ("", "corrupt", "late")[a.seq % 3])
        await until(lambda: spool.stats.ledger == 150)
        assert sum(spool.stats.ended.values()) + spool.stats.queued == 300
        assert await spool.record(accepted[0].frame_id) is None, "the ledger forgets the oldest that have ended"
        assert await spool.record(accepted[-1].frame_id) is not None


async def test_a_key_is_one_frame(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        key = {"idem_key": "k", "fingerprint": 7}
        first, again = await asyncio.gather(spool.put(frame(**key)), spool.put(frame(**key)))
        assert first.seq == again.seq and not first.replay and again.replay
        other = await spool.put(frame(camera="yard", **key))
        assert other.seq != first.seq
        with pytest.raises(KeyReusedError, match="'k'"):
            await spool.put(frame(idem_key="k", fingerprint=8))
        spool.finish(first.seq, "done")
    async with opened(tmp_path) as spool:
        assert (await spool.put(frame(**key))).frame_id == first.frame_id, "also when done, also after a restart"
        assert spool.stats.queued == 1


async def test_numbers_go_on_and_the_epoch_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        first, epoch = await spool.put(frame()), spool.epoch
        spool.finish(first.seq, "done")
    async with opened(tmp_path) as spool:
        assert (await spool.put(frame())).seq > first.seq and spool.epoch == epoch


async def test_a_full_spool_refuses_and_pictures_go_first(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=100_000, ring_max_bytes=80_000) as spool:
        accepted = [await spool.put(frame(bytes(1000), bytes(10_000))) for _ in range(5)]
        assert spool.stats.pictures == 5
        accepted += [await spool.put(frame(bytes(9_700), b"")) for _ in range(9)]
        assert spool.stats.pictures == 0 and spool.stats.queued == 14
        assert spool.stats.charged == spool.stats.queued_bytes + 14 * FRAME_OVERHEAD <= 100_000
        assert (await spool.picture(accepted[0].frame_id)).gone == "shed: room for frames"
        with pytest.raises(SpoolFullError, match="14 frames"):
            await spool.put(frame(bytes(10_000)))
        spool.finish(accepted[-1].seq, "done")
        await spool.put(frame(bytes(9_700), b""))


async def test_the_ring_keeps_the_newest_and_says_why_not(tmp_path: Path) -> None:
    async with opened(tmp_path, ring_max_bytes=50_000) as spool:
        pictures = [os.urandom(5000) for _ in range(30)]
        accepted = [await spool.put(frame(picture=p)) for p in pictures]
        assert spool.stats.picture_bytes <= 50_000
        oldest, newest = await spool.picture(accepted[0].frame_id), await spool.picture(accepted[-1].frame_id)
        assert oldest.gone == "shed: ring full" and not oldest.data
        assert newest.data == pictures[-1] and newest.content_type == "image/jpeg" and not newest.gone
        large = await spool.put(frame(picture=bytes(60_000)))
        assert (await spool.picture(large.frame_id)).gone == "never kept: larger than the ring"
        assert (await spool.picture("nobody")).gone == "unknown frame"
    async with opened(tmp_path, ring_max_bytes=50_000) as spool:
        assert (await spool.picture(accepted[-1].frame_id)).data == pictures[-1], "kept over a restart"
        assert size_of(tmp_path / "pictures") == spool.stats.picture_bytes


async def test_pictures_age(tmp_path: Path) -> None:
    async with opened(tmp_path, ring_max_age_s=0.2) as spool:
        accepted = await spool.put(frame())
        await until(lambda: spool.stats.pictures == 0)
        assert (await spool.picture(accepted.frame_id)).gone == "aged out"


async def test_no_ring_at_all(tmp_path: Path) -> None:
    async with opened(tmp_path, ring_max_bytes=0) as spool:
        accepted = await spool.put(frame())
        assert (await spool.picture(accepted.frame_id)).gone.startswith("never kept")


async def test_a_damaged_picture_is_gone_not_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame(picture=b"x" * 1000))
        (segment,) = (tmp_path / "pictures").iterdir()
        segment.write_bytes(b"x" * 999 + b"y")
        assert (await spool.picture(accepted.frame_id)).gone.startswith("damaged")


async def test_what_is_too_late_expires_unless_the_cloud_may_have_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        spool.claims.tried = 1
        sent = await spool.put(frame(max_age_ms=1))
        assert sent.seq == spool.claims.tried
        late = await spool.put(frame(max_age_ms=1))
        fresh = await spool.put(frame(max_age_ms=3_600_000))
        await until(lambda: spool.stats.ended)
        states = [await spool.record(a.frame_id) for a in (sent, late, fresh)]
        assert [r.state for r in states if r] == ["queued", "expired", "queued"]


async def test_nothing_waits_longer_than_the_spool_keeps(tmp_path: Path) -> None:
    async with opened(tmp_path, max_age_s=0.1) as spool:
        await spool.put(frame())
        await until(lambda: ("dropped", "older than the spool keeps frames") in spool.stats.ended)


async def test_setting_the_clock_makes_no_frame_older(tmp_path: Path) -> None:
    years = 6 * 365 * 86400 * 10**6
    async with opened(tmp_path, max_age_s=60) as spool:
        await spool.put(frame(accepted_us=now_us() - years))
        await spool.put(frame(accepted_us=now_us() + years))
        await spool.settle()
        await asyncio.to_thread(time.sleep, 1.2)  # a sweep goes by
        await spool.settle()
        assert spool.stats.queued == 2 and not spool.stats.ended


async def test_running_time_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10**12]
    monkeypatch.setattr(books, "_monotonic_us", lambda: clock[0])
    book = Book(tmp_path, LIMITS)
    for _ in range(2):
        book.begin()
        book.put(frame())
        book.sweep(Claims(0))
        book.commit()
        clock[0] += 1800 * 10**6
    book.begin()
    book.sweep(Claims(0))
    book.commit()
    assert book.queued == 2, "no frame is older than an hour"
    book.close()
    clock[0] = 5  # the machine has booted
    book = Book(tmp_path, LIMITS)
    book.begin()
    book.sweep(Claims(0))
    assert book.queued == 2, "time that was off does not count"
    clock[0] += 600 * 10**6
    book.sweep(Claims(0))
    book.commit()
    assert book.queued == 1 and book.tally == {("dropped", "older than the spool keeps frames"): 1}
    book.close()


async def test_a_spool_of_the_format_before_keeps_its_frames(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame())
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        db.executescript(
            "ALTER TABLE frames DROP COLUMN lived_us; ALTER TABLE frames DROP COLUMN pixels; DROP TABLE layers;"
            "ALTER TABLE pictures DROP COLUMN coded; ALTER TABLE pictures DROP COLUMN bundle; PRAGMA user_version=1"
        )
    async with opened(tmp_path) as spool:
        assert [f.seq for f in await spool.pending(0, 10, 1 << 20)] == [accepted.seq]
        assert (await spool.put(frame())).seq > accepted.seq


async def test_what_the_cloud_may_have_is_not_dropped_and_what_is_dropped_is_not_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, max_age_s=0.1) as spool:
        sent, ahead, beyond = [await spool.put(frame()) for _ in range(3)]
        read = await spool.pending(0, 2, 1 << 20)
        assert [f.seq for f in read] == [sent.seq, ahead.seq] and spool.claims.send(sent.seq)
        await until(lambda: sum(spool.stats.ended.values()) == 2)
        states = [await spool.record(a.frame_id) for a in (sent, ahead, beyond)]
        assert [r.state for r in states if r] == ["queued", "dropped", "dropped"]
        assert not spool.claims.send(ahead.seq), "read ahead, then swept"
        spool.claims.give_back(sent.seq)
        await until(lambda: spool.stats.queued == 0)
        assert not spool.claims.send(sent.seq)


def test_a_sweep_that_was_not_committed_has_ended_nothing() -> None:
    claims = Claims(tried=3)
    claims.read()
    assert claims.sweep([2, 3, 4, 5]) == [4, 5] and not claims.send(4)
    claims.settle(committed=False)
    assert claims.send(4) and claims.sweep([4, 5]) == [5]
    claims.settle(committed=True)
    claims.read(4)
    assert claims.send(5), "not in the uplink's hands when it was swept: nobody asks, nothing is remembered"


def size_of(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir())


async def test_the_file_stays_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=200_000, ring_max_bytes=0, ledger_max_rows=100) as spool:
        for _ in range(40):
            accepted = await asyncio.gather(*(spool.put(frame(bytes(5000), b"")) for _ in range(30)))
            for a in accepted:
                spool.finish(a.seq, "done")
        await until(lambda: spool.stats.ledger <= 100)
    assert size_of(tmp_path) < 2_000_000, "6 MB went through"


async def test_small_frames_fill_no_more_than_the_bound_allows(tmp_path: Path) -> None:
    bound = 4 << 20
    largest = 0

    async def fill(spool: Spool) -> list[int]:
        nonlocal largest
        seqs: list[int] = []
        with pytest.raises(SpoolFullError):
            while True:
                promises = [spool.put(frame(bytes(60), b"")) for _ in range(200)]
                found = await asyncio.gather(*promises, return_exceptions=True)
                seqs += [a.seq for a in found if isinstance(a, Accepted)]
                largest = max(largest, size_of(tmp_path))
                if len(seqs) % 200:
                    raise SpoolFullError
        return seqs

    async with opened(tmp_path, max_bytes=bound, ring_max_bytes=0, ledger_max_rows=100) as spool:
        for _ in range(2):
            for seq in await fill(spool):
                spool.finish(seq, "done")
            await until(lambda: spool.stats.queued == 0)
        await fill(spool)
        assert largest <= 2 * bound, f"{largest} bytes"


async def test_the_file_shrinks_when_the_frames_have_left(tmp_path: Path) -> None:
    async with opened(tmp_path, max_bytes=4 << 20, ring_max_bytes=0, ledger_max_rows=100) as spool:
        accepted = await asyncio.gather(*(spool.put(frame(bytes(10_000), b"")) for _ in range(300)))
        for a in accepted:
            spool.finish(a.seq, "done")
        await until(lambda: spool._book._one("PRAGMA page_count") < 300)


async def test_one_writer_per_folder(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(SettingsError, match="another edge runs"):
            Spool(tmp_path, LIMITS)
    async with opened(tmp_path):
        pass


async def test_a_file_that_is_no_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"something else entirely, and long enough to have a header" * 100)
    with pytest.raises(SpoolError, match="cannot open the spool"):
        Spool(tmp_path, LIMITS)
    other = tmp_path / "other"
    other.mkdir()
    with closing(sqlite3.connect(other / "spool.db")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(SpoolError, match="format 99"):
        Spool(other, LIMITS)


async def in_writer(spool: Spool, do: Callable[[sqlite3.Connection], object]) -> None:
    """Meddle with the writer's own connection, between two of its transactions."""
    await spool.settle()
    await asyncio.to_thread(do, spool._book._db)


async def test_a_full_disk_refuses_loses_nothing_and_recovers(tmp_path: Path) -> None:
    def fill(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={pages}")

    async with opened(tmp_path) as spool:
        accepted = [await spool.put(frame(bytes(3000))) for _ in range(10)]
        await in_writer(spool, fill)
        with pytest.raises(SpoolError, match="full"):
            for _ in range(100):
                promised = await spool.put(frame(bytes(3000)))
                accepted += [promised]
        assert "full" in spool.trouble
        kept = [await spool.picture(a.frame_id) for a in accepted]
        assert any(k.gone == "shed: disk full" for k in kept) or not spool.stats.pictures, "pictures went first"
        await in_writer(spool, lambda db: db.execute("PRAGMA max_page_count=100000"))
        await until(lambda: not spool.trouble)
        accepted.append(await spool.put(frame(bytes(3000))))
        assert [f.seq for f in await spool.pending(0, 1000, 1 << 20)] == [a.seq for a in accepted]


async def test_an_ack_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame())
        await in_writer(spool, lambda db: db.execute("PRAGMA query_only=ON"))
        spool.finish(accepted.seq, "done", soon=True)
        await until(lambda: spool.trouble)
        await in_writer_despite_trouble(spool)
        await until(lambda: spool.stats.ended == {("done", ""): 1})


async def in_writer_despite_trouble(spool: Spool) -> None:
    await asyncio.to_thread(spool._book._db.execute, "PRAGMA query_only=OFF")


async def test_a_mistake_in_a_job_is_told_and_does_not_end_the_writer(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await spool.put(frame())
        with pytest.raises(SpoolError, match=r"a mistake of the program: .*int too large"):
            spool.finish(1 << 64, "done")
            await spool.settle()
        assert "a mistake of the program" in spool.trouble
        assert (await spool.picture(accepted.frame_id)).data == b"picture", "no picture had to go"


async def test_a_sweep_that_fails_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, max_age_s=float("inf")) as spool:
        await until(lambda: "a mistake of the program" in spool.trouble)
        assert spool._writer.is_alive()


async def test_many_are_promised_by_one_commit(tmp_path: Path) -> None:
    """Group commit: a hundred at once take nothing like a hundred fsyncs."""
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    async with opened(tmp_path) as spool:
        await in_writer(spool, lambda db: db.set_trace_callback(count))
        await asyncio.gather(*(spool.put(frame()) for _ in range(100)))
        assert commits < 50
        await in_writer(spool, lambda db: db.set_trace_callback(None))


async def test_acks_ride_along(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        accepted = await asyncio.gather(*(spool.put(frame()) for _ in range(20)))
        began = time.monotonic()
        for a in accepted:
            spool.finish(a.seq, "done")
        await until(lambda: spool.stats.queued == 0)
        assert time.monotonic() - began < 10
