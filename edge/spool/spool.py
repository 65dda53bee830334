"""The spool as the event loop sees it: one writer thread that commits in groups, one reader thread.

Every operation is a function of the Book on one queue. The writer takes all that wait, runs them in one
transaction, commits (one fsync for all), and only then answers. Operations nobody waits for (acks) ride along
with the next one that somebody does, or go after LINGER_S.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from common.errors import MidstreamError, SettingsError
from edge.spool.book import Book
from edge.spool.claims import Claims
from edge.spool.reader import Reader
from edge.spool.records import Accepted, Ended, Frame, Limits, Pending, Record, SpoolError, Stats, now_us
from edge.spool.ring import DISK_FULL, Kept

T = TypeVar("T")
LINGER_S = 0.05
HOUSEKEEPING_S = 1.0
MAX_BATCH = 256
_REMEMBERED = 4096

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    run: Callable[[Book], Any]
    answer: "asyncio.Future[Any] | None" = None
    lazy: bool = False
    owed: bool = False
    """To be tried again when the disk did not take it."""


class Spool:
    """Put frames, ask for pending ones, end them. `on_ended` hears of every frame that reaches its final state."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._lock = _lock(folder)
        self._book = Book(folder, limits)
        self.epoch = self._book.epoch
        self.limits = limits
        self.stats: Stats = self._book.stats()
        self.trouble = ""
        """Why the disk did not take the last transaction; empty when it did."""
        self.claims = Claims(self._book.last_seq)
        """Which frames may have reached the cloud, so that no sweep ends them."""
        self.fresh = asyncio.Event()
        """Set whenever a frame was put."""
        self.on_ended: Callable[[Ended], None] = lambda ended: None
        self._durable: dict[int, int] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._owed: list[_Job] = []
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(self._book)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._writer = threading.Thread(target=self._write, name="spool-writer", daemon=True)
        self._writer.start()

    def __repr__(self) -> str:
        s = self.stats
        return f"<spool {self.epoch[:8]}: {s.queued} frames, {s.queued_bytes} bytes; {s.pictures} pictures>"

    # ---- on the event loop ------------------------------------------------------------------------------------------

    def put(self, frame: Frame) -> "asyncio.Future[Accepted]":
        """Enter a frame; the future is done when it is on disk. Frames are numbered in the order of these calls."""
        future: asyncio.Future[Accepted] = self._loop.create_future()
        self._jobs.put(_Job(lambda book: book.put(frame), future))
        return future

    def finish(self, seq: int, state: str, reason: str = "", detail: str = "", soon: bool = False) -> None:
        """End a frame. Nobody waits for it, unless `soon`: then it is written at once."""
        self._jobs.put(_Job(lambda book: book.finish(seq, state, reason, detail), lazy=not soon, owed=True))

    def recode(self, seq: int, payload: bytes) -> None:
        """Send this in the place of a queued frame's payload, if there is room for it. Nobody waits for it."""
        self._jobs.put(_Job(lambda book: book.recode(seq, payload), lazy=True))

    def left_out(self, seq: int, why: str) -> None:
        """Note that a frame goes without the enhancement it was promised with. Nobody waits for it."""
        self._jobs.put(_Job(lambda book: book.left_out(seq, why), lazy=True, owed=True))

    async def pending(self, after: int, limit: int, max_bytes: int) -> list[Pending]:
        """Unacked frames with seq > after, in order."""
        self.claims.read()
        up_to = after
        try:
            frames = await self._read(partial(self._reader.pending, after, limit, max_bytes))
            up_to = frames[-1].seq if frames else after
            return frames
        finally:
            self.claims.read(up_to)

    async def waiting(self, after: int, limit: int, max_bytes: int) -> list[Pending]:
        """The same for somebody who only looks, and does not send."""
        return await self._read(partial(self._reader.pending, after, limit, max_bytes))

    async def record(self, frame_id: str) -> Record | None:
        """What the ledger says of a frame."""
        return await self._read(partial(self._reader.record, frame_id))

    async def picture(self, frame_id: str) -> Kept:
        """The picture of a frame as received, or why there is none. Raises RingError if it cannot be read."""
        return await self._read(partial(self._reader.picture, frame_id))

    async def container(self, frame_id: str) -> Kept:
        """What is kept beside the picture of a frame to code enhancements by, without the picture, which is large."""
        return await self._read(partial(self._reader.container, frame_id))

    def keep_layer(self, frame_id: str, kind: int, quality: int, payload: bytes) -> "asyncio.Future[bool]":
        """Keep an enhancement as long as the picture it was coded of: whether `layers` finds it from now on."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._jobs.put(_Job(lambda book: book.keep_layer(frame_id, kind, quality, payload), future))
        return future

    async def layers(self, frame_id: str) -> dict[tuple[int, int], bytes]:
        """The enhancements of a frame that were kept, by kind and quality."""
        return await self._read(partial(self._reader.layers, frame_id))

    async def unlayered(self, newest: int) -> list[str]:
        """Of the newest pictures, so many, those of which an enhancement can be coded and none was."""
        return await self._read(partial(self._reader.unlayered, newest))

    async def bundles(self) -> set[bytes]:
        """The first bytes of the bundles' digests that kept pictures and waiting frames need; empty: any bundle."""
        return await self._read(self._reader.bundles)

    async def settle(self) -> None:
        """Wait until everything asked for so far is on disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(lambda book: None, future))
        await future

    def durable_us(self, seq: int) -> int | None:
        """When this frame's transaction was committed, if that was in this process and not long ago."""
        return self._durable.pop(seq, None)

    async def close(self) -> None:
        """Write what was asked for, then let go of the files."""
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        await self._loop.run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown()
        os.close(self._lock)

    async def _read(self, question: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._reading, question)
        except sqlite3.Error as e:
            raise SpoolError(f"cannot read the spool: {e}") from e

    def _committed(self, done: list[tuple[_Job, Any]], ended: list[Ended], instant_us: int) -> None:
        for job, result in done:
            if job.answer is None or job.answer.done():
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
                continue
            if isinstance(result, Accepted) and not result.replay:
                self._durable[result.seq] = instant_us
                self.fresh.set()
            job.answer.set_result(result)
        while len(self._durable) > _REMEMBERED:
            del self._durable[next(iter(self._durable))]
        for each in ended:
            self.on_ended(each)

    # ---- in the writer thread ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        stop, swept = False, 0.0
        while not stop:
            batch, stop = self._collect()
            if (now := time.monotonic()) - swept > HOUSEKEEPING_S:
                swept = now
                batch = [*self._owed, *batch, _Job(lambda book: book.sweep(self.claims), lazy=True)]
                self._owed = []
                if self.trouble:
                    batch.append(_Job(Book.probe, lazy=True))
            if batch:
                self._transact(batch)
        self._book.close()

    def _collect(self) -> tuple[list[_Job], bool]:
        """The next jobs, and whether they are the last: all that wait, but not only lazy ones before LINGER_S."""
        batch: list[_Job] = []
        deadline, urgent = time.monotonic() + HOUSEKEEPING_S, False
        while len(batch) < MAX_BATCH:
            try:
                job = self._jobs.get_nowait() if urgent else self._jobs.get(timeout=deadline - time.monotonic())
            except (queue.Empty, ValueError):  # ValueError: the deadline has passed
                break
            if job is None:
                return batch, True
            batch.append(job)
            urgent = urgent or not job.lazy
            deadline = min(deadline, time.monotonic() + LINGER_S)
        return batch, False

    def _transact(self, batch: list[_Job]) -> None:
        try:
            done = self._attempt(batch)
        except Exception as e:  # noqa: BLE001 - a mistake of ours, too: without this thread nobody is answered any more
            try:
                done = self._after_trouble(batch, e)
            except Exception as again:  # noqa: BLE001
                self._give_up(batch, again)
                return
        if self.trouble:
            log.warning("the spool takes frames again")
        self.trouble = ""
        self.stats = self._book.stats()
        self._tell(done, self._book.ended)

    def _attempt(self, batch: list[_Job]) -> list[tuple[_Job, Any]]:
        book = self._book
        self.claims.settle(committed=False)  # what an attempt before this one did not bring to its commit
        book.begin()
        done: list[tuple[_Job, Any]] = []
        for job in batch:
            try:
                done.append((job, job.run(book)))
            except MidstreamError as refusal:  # SpoolFullError, KeyReusedError: this job's answer, nothing was changed
                done.append((job, refusal))
        book.commit()
        self.claims.settle(committed=True)
        return done

    def _after_trouble(self, batch: list[_Job], error: Exception) -> list[tuple[_Job, Any]]:
        """Shed the older half of the pictures, which is what may go, and try once more."""
        self._book.rollback()
        if not isinstance(error, sqlite3.Error | OSError):  # not the disk's fault: no picture has to go
            raise error
        ring = self._book.ring
        oldest = list(ring.segments)[: (len(ring.segments) + 1) // 2]
        if not oldest:
            raise error
        log.error("the disk did not take a transaction: pictures are shed", error=str(error), segments=len(oldest))
        for segment in oldest:
            ring.drop(segment)
        marks = [_Job(partial(_unlist, segment), lazy=True) for segment in oldest]
        return self._attempt([*marks, *batch])

    def _give_up(self, batch: list[_Job], error: Exception) -> None:
        self.claims.settle(committed=False)
        try:
            self._book.rollback()
        except Exception:
            log.exception("the spool cannot even roll back")
        mistake = not isinstance(error, sqlite3.Error | OSError)
        why = f"a mistake of the program: {error!r}" if mistake else str(error) or type(error).__name__
        if not self.trouble:
            log.error("the spool cannot be written", error=why, exc_info=error if mistake else None)
        self.trouble = why
        self._owed += [job for job in batch if job.owed]
        self._tell([(job, SpoolError(f"the spool cannot be written: {why}")) for job in batch if job.answer], [])

    def _tell(self, done: list[tuple[_Job, Any]], ended: list[Ended]) -> None:
        answered = [each for each in done if each[0].answer is not None]
        if not answered and not ended:
            return
        try:
            self._loop.call_soon_threadsafe(self._committed, answered, ended, now_us())
        except RuntimeError:  # the loop was closed: nobody is left to tell
            log.warning("the spool outlived its event loop")


def _unlist(segment: int, book: Book) -> None:
    book.unlist(segment, DISK_FULL)


def _lock(folder: Path) -> int:
    """Keep a second edge off this folder: two writers would number the same frames."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(handle)
        raise SettingsError(f"another edge runs on {folder}: give each its own MIDSTREAM_EDGE_DATA_DIR") from e
    return handle
