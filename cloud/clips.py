"""Frames of a camera as a video. Pictures that are not here are pulled from the edge first, a few at a time.

want ──► which frames (store) ──► one after the other: pixels (pull) ──► film (draw, encode) ──► a file

One clip is made at a time, and given up when nobody asks for it any more. The last few stay, to be sent again.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cloud import film
from cloud.drawing import draw
from cloud.encoded import MEDIA_TYPES, upright
from cloud.film import Film
from cloud.frame import Original
from cloud.layers import Unavailable
from cloud.pixels import Pixels, Ready
from cloud.replies import Refusal, unusable
from cloud.store import Filters, Record, Store
from cloud.synthesis import BusyError
from common.errors import BitstreamError, BundleError
from common.network.priority import stand_back

MOST_FRAMES = 600
_MOST_READ = 50_000
"""Of the results in the time that is asked for, with those that `fps` leaves out."""
_AHEAD = 6
"""Pictures that are asked for before it is their turn: an edge lets eight wait."""
_PATIENCE_SECONDS = 60.0
"""How long a picture may be on its way until the clip goes on without it."""
_FORGOTTEN_SECONDS = 30.0
"""After nobody has asked for so long, a clip is given up."""
_KEPT = 2
_KEPT_OPEN_SECONDS = 30.0
"""How long a clip serves whose end lay ahead when it was begun: more frames may have come."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Frames captured from `since_us` on and before `until_us`, of any edge's camera of this name unless `edge` is
    given, at most `fps` a second; with `boxes`, what was found is drawn into them.
    """

    camera: str
    edge: str | None
    since_us: int
    until_us: int
    layer: str
    fps: float | None
    boxes: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """A file of so many frames, `of` those there are: the others cannot be had. `good_until`: a monotonic time."""

    path: Path
    frames: int
    of: int
    good_until: float


@dataclass(frozen=True, slots=True)
class Making:
    """It is not there yet: so many frames are."""

    here: int
    of: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another clip is being made."""


Answer = Clip | Making | Busy | Refusal | Unavailable


@dataclass(slots=True)
class _Job:
    wanted: Wanted
    rows: list[Record]
    asked: float
    here: int = 0
    """Frames that are in the film."""
    task: "asyncio.Task[Clip | Refusal | Unavailable]" = field(init=False)


class Clips:
    """What somebody who wants a clip gets. `stop` it before the pictures."""

    def __init__(self, store: Store, pixels: Pixels) -> None:
        self._store = store
        self._pixels = pixels
        self._folder = Path(tempfile.mkdtemp(prefix="midstream-clips-"))
        self._pool = ThreadPoolExecutor(1, "clips", initializer=stand_back)
        self._names = itertools.count()
        self._job: _Job | None = None
        self._done: OrderedDict[Wanted, Clip] = OrderedDict()

    async def want(self, wanted: Wanted, seconds: float = 0.0) -> Answer:
        """The clip, or what is done to get it, after so many seconds. Raises StoreError."""
        over = time.monotonic() + seconds
        answer = await self._begun(wanted)
        if not isinstance(answer, _Job):
            return answer
        left = 0.0
        while not answer.task.done() and (left := over - time.monotonic()) > 0:
            answer.asked = time.monotonic()
            await asyncio.wait([answer.task], timeout=min(left, _FORGOTTEN_SECONDS / 2))
        answer.asked = time.monotonic()
        return self._result(answer)

    async def stop(self) -> None:
        """Give up what is being made, and delete all files."""
        if self._job:
            self._job.task.cancel()
            await asyncio.wait([self._job.task])
        await asyncio.to_thread(self._pool.shutdown)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _begun(self, wanted: Wanted) -> "_Job | Clip | Busy | Refusal":
        if (clip := self._done.get(wanted)) and time.monotonic() < clip.good_until:
            return clip
        if under_way := self._under_way(wanted):
            return under_way
        rows = await self._rows(wanted)
        if isinstance(rows, Refusal):
            return rows
        if under_way := self._under_way(wanted):  # somebody was faster
            return under_way
        job = self._job = _Job(wanted, rows, time.monotonic())
        job.task = asyncio.create_task(self._make(job), name="clip")
        return job

    def _under_way(self, wanted: Wanted) -> "_Job | Busy | None":
        job = self._job
        if job is None or (job.task.done() and (job.wanted != wanted or _is_clip(job))):
            return None
        return job if job.wanted == wanted else Busy()

    def _result(self, job: _Job) -> Answer:
        """How far it is; a clip that failed is told once, and then begun anew."""
        if not job.task.done():
            return Making(job.here, len(job.rows))
        if self._job is job:
            self._job = None
        if job.task.cancelled():
            return Making(0, len(job.rows))
        return job.task.result()

    async def _rows(self, wanted: Wanted) -> list[Record] | Refusal:
        filters = Filters(
            cameras=(wanted.camera,),
            edges=(wanted.edge,) if wanted.edge else (),
            since_us=wanted.since_us,
            until_us=wanted.until_us,
        )
        rows: list[Record] = []
        read = 0
        async for row in self._store.every(filters, self._store.last_number):
            read += 1
            if not rows or wanted.fps is None or row.captured_us - rows[-1].captured_us >= 0.99e6 / wanted.fps:
                rows.append(row)
            if len(rows) > MOST_FRAMES or read > _MOST_READ:
                return _invalid(f"more than {MOST_FRAMES} frames; ask for a shorter time, or for fewer with fps")
        if len({row.edge for row in rows}) > 1:
            return _invalid(f"several edges have a camera {wanted.camera}; name one with edge")
        return sorted(rows, key=lambda row: row.captured_us) or _nothing(wanted)

    # ---- making one

    async def _make(self, job: _Job) -> Clip | Refusal | Unavailable:
        begun_us = time.time_ns() // 1000
        path = self._folder / f"{next(self._names)}.mp4"
        try:
            answer = await self._filmed(job, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if answer is not None:
            path.unlink(missing_ok=True)
            return answer
        still_open = job.wanted.until_us > begun_us
        good_until = time.monotonic() + _KEPT_OPEN_SECONDS if still_open else float("inf")
        clip = Clip(path, job.here, len(job.rows), good_until)
        self._keep(job.wanted, clip)
        return clip

    async def _filmed(self, job: _Job, path: Path) -> Refusal | Unavailable | None:
        """All frames that can be had, as a file; or why none can."""
        size = film.size_of(job.rows[0].width, job.rows[0].height)
        run = asyncio.get_running_loop().run_in_executor
        film_ = await run(self._pool, Film, path, size)
        try:
            refusal = await self._fill(job, film_)
        except film.TooLargeError as e:
            return _invalid(f"{e}; ask for a shorter time, or for fewer frames with fps")
        finally:
            await asyncio.shield(run(self._pool, film_.end))
        return refusal

    async def _fill(self, job: _Job, film_: Film) -> Refusal | Unavailable | None:
        run = asyncio.get_running_loop().run_in_executor
        refusal: Refusal | None = None
        begun_us, at_ms = 0, -1
        for i, row in enumerate(job.rows):
            found = await self._picture(job, i)
            if isinstance(found, Unavailable):
                return found
            if isinstance(found, Refusal):
                refusal = found
                continue
            begun_us = begun_us if at_ms >= 0 else row.captured_us
            at_ms = max(at_ms + 1, (row.captured_us - begun_us) // 1000)
            try:
                await run(self._pool, _add, film_, row, found, at_ms, job.wanted.boxes)
            except BitstreamError as e:
                refusal = Refusal(422, "layer-damaged", str(e))
                continue
            job.here += 1
        return None if job.here else refusal

    async def _picture(self, job: _Job, i: int) -> bytes | Refusal | Unavailable:
        """The file of one frame's picture; those of the next frames are asked for."""
        layer = job.wanted.layer
        ahead = job.rows[i : i + _AHEAD] if i == 0 else job.rows[i + _AHEAD - 1 : i + _AHEAD]
        for row in ahead:
            await self._pixels.look(row, layer)
        over = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < over:
            if time.monotonic() - job.asked > _FORGOTTEN_SECONDS:
                raise asyncio.CancelledError
            ready = await self._pixels.wait(job.rows[i], layer, seconds=5)
            if isinstance(ready, Unavailable) or (isinstance(ready, Refusal) and ready.status != 503):
                return ready  # but what came and was not kept may come again
            if isinstance(ready, Ready):
                with contextlib.suppress(BusyError):  # others look at pictures too: they first
                    return await self._file(job.rows[i], ready)
            await asyncio.sleep(0.1)
        return Refusal(410, "gone", f"frame {job.rows[i].id} did not come within {_PATIENCE_SECONDS:.0f} seconds")

    async def _file(self, row: Record, ready: Ready) -> bytes | Refusal:
        form = "jpeg"
        if isinstance(ready.made_of, Original):  # as it is
            form = next(f for f, media_type in MEDIA_TYPES.items() if media_type == ready.made_of.content_type)
        try:
            return await self._pixels.file(row, ready, form)
        except BundleError as e:
            return unusable(e)
        except BitstreamError as e:
            return Refusal(422, "layer-damaged", str(e))

    def _keep(self, wanted: Wanted, clip: Clip) -> None:
        if older := self._done.pop(wanted, None):
            older.path.unlink(missing_ok=True)
        self._done[wanted] = clip
        while len(self._done) > _KEPT:
            _, oldest = self._done.popitem(last=False)
            oldest.path.unlink(missing_ok=True)


def _is_clip(job: _Job) -> bool:
    return not job.task.cancelled() and job.task.exception() is None and isinstance(job.task.result(), Clip)


def _add(film_: Film, row: Record, data: bytes, at_ms: int, boxes: bool) -> None:
    """In the thread. Raises BitstreamError, TooLargeError."""
    picture, scale = film.fitted(upright(data, (row.width, row.height)), film_.size)
    if boxes:
        draw(picture, row.found(), scale)
    film_.add(picture, at_ms)


def _invalid(reason: str) -> Refusal:
    return Refusal(422, "invalid-request", f"since, until: {reason}.", final=True)


def _nothing(wanted: Wanted) -> Refusal:
    return Refusal(
        404, "not-found", f"No frame of camera {wanted.camera} in this time; /v1/cameras says when there are."
    )
