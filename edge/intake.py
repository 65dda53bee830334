"""From a compressed picture to a promise: room, order, encoding, spool. Every source of frames comes through here.

Bounded twice, in frames and in bytes, before anything is read. Encoding is done by a small pool of threads, so
frames may be ready out of order; they are put into the spool in the order they came, camera by camera.
"""

import asyncio
import contextlib
import random
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from common.errors import FrameError
from common.ids import uuid7
from common.types import Mode
from edge.along import Along
from edge.codecs import Codecs
from edge.control import Control
from edge.encode import Encoded, Encoder
from edge.meter import Meter
from edge.points import Point
from edge.references import After, References
from edge.settings import Settings
from edge.spool import Accepted, Frame, KeyReusedError, Spool, SpoolError, SpoolFullError, now_us
from edge.strangers import prefix_of


class NotNowError(FrameError):
    """A frame that could be taken later. `kind` names the bound, in problems and metrics."""

    def __init__(self, status: int, kind: str, message: str, retry_after: int) -> None:
        super().__init__(status, message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as it came from a camera."""

    frame_id: str
    camera: str
    captured_us: int
    data: bytes
    idem_key: str | None = None
    pixels: str = ""
    """The layer up to which the enhancements are to travel along, one of along.LAYERS; empty: none."""


class Intake:
    """`with intake.room(size): await intake.take(shot)`."""

    def __init__(
        self, settings: Settings, spool: Spool, codecs: Codecs, control: Control, meter: Meter, along: Along
    ) -> None:
        self.limited: Callable[[], bool] = lambda: False
        """Whether the link is the limit now: then no pictures go along with frames."""
        self.draining = False
        self.frames = 0
        """Frames between their first byte and the spool."""
        self._bytes = 0
        self._settings = settings
        self._spool = spool
        self._codecs = codecs
        self._control = control
        self._meter = meter
        self._along = along
        temporal = settings.temporal == "on" and settings.ring_max_bytes > 0
        self.references = References(temporal, settings.keyframes, settings.references_max_bytes)
        """What frames may be coded after. Without pictures none: it could not be coded again."""
        self.references.on_dropped = meter.unreferenced
        self.quiet_since = time.monotonic()
        """When the last frame was done with."""
        self._pool = ThreadPoolExecutor(settings.encode_workers, thread_name_prefix="encode")
        self._turns: dict[str, asyncio.Future[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<intake: {self.frames} frames, {self._bytes} bytes in hand, {self._codecs!r}>"

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Room for a picture of `size` bytes, from before it is read until it is in the spool. Raises NotNowError."""
        if refusal := self._refusal(size):
            self._meter.refused(refusal.kind)
            raise refusal
        self.frames += 1
        self._bytes += size
        self._idle.clear()
        try:
            yield
        finally:
            self.frames -= 1
            self._bytes -= size
            self.quiet_since = time.monotonic()
            if not self.frames:
                self._idle.set()

    def _refusal(self, size: int) -> NotNowError | None:
        s = self._settings
        if self.draining:
            return NotNowError(503, "draining", "the edge is stopping; ask again when it has restarted", 5)
        if self._codecs.current is None:
            return NotNowError(503, "no-bundle", "the edge has no bundle yet; it asks the cloud for one", 5)
        if self._spool.trouble:
            return NotNowError(503, "spool-unwritable", f"the spool cannot be written: {self._spool.trouble}", 5)
        if self._spool.stats.charged >= s.spool_max_bytes:
            return _spool_full("frames the cloud has not taken fill the spool")
        if self.frames >= s.encode_queue or self._bytes + size > s.body_bytes_in_hand:
            return NotNowError(429, "busy", f"{self.frames} frames are being coded; send slower", 1)
        return None

    async def take(self, shot: Shot) -> Accepted:
        """Code the picture and put it into the spool; it is on disk when this returns."""
        previous, turn = self._turns.get(shot.camera), asyncio.get_running_loop().create_future()
        self._turns[shot.camera] = turn
        try:
            encoder, encoded = await self._encode(shot)
            if encoded.helped is not None:
                self.references.tried(shot.camera, encoded.helped)
            if previous is not None and not previous.done():
                await asyncio.wait([previous])
            began = time.perf_counter()
            promise = self._spool.put(self._frame(shot, encoded))
            if encoded.state is not None:
                self.references.coded(shot.camera, shot.frame_id, encoder.bundle.prefix, encoded.state)
        finally:
            self._pass_on(shot.camera, turn, previous)
        try:
            accepted = await self._promised(promise)
        except FrameError:
            self.references.ended(shot.frame_id)
            raise
        if accepted.replay:
            self.references.ended(shot.frame_id)
            return accepted
        spool = {"spool": round((time.perf_counter() - began) * 1e3, 3)}
        self._meter.encoded(shot.camera, encoded)
        self._meter.stages(spool)
        # Control hears nothing of the disk's time: in it the encoders code other frames.
        self._control.saw(shot.camera, encoded, encoder, time.monotonic())
        return replace(accepted, timing=encoded.timing | spool)

    def _pass_on(self, camera: str, turn: "asyncio.Future[None]", previous: "asyncio.Future[None] | None") -> None:
        """The next frame's turn: at once, or, if this one failed before its own had come, when that comes."""

        def over(_: object = None) -> None:
            if not turn.done():
                turn.set_result(None)
            if self._turns.get(camera) is turn:
                del self._turns[camera]

        if previous is not None and not previous.done():
            previous.add_done_callback(over)
        else:
            over()

    async def _encode(self, shot: Shot) -> tuple[Encoder, Encoded]:
        encoder = await self._codecs.encoder(shot.camera)  # room() refuses frames while there is none
        point = self._control.points.of(shot.camera, encoder.ways)
        loop = asyncio.get_running_loop()
        after = self._after(shot.camera, encoder, point)
        encode = partial(encoder.encode, shot.data, point, shadow=self._shadows(), after=after)
        encoded = await loop.run_in_executor(self._pool, encode)
        return encoder, await self._along.add(encoder, encoded, shot.data, shot.pixels) if shot.pixels else encoded

    def _after(self, camera: str, encoder: Encoder, point: Point) -> After | None:
        # Asked in the order in which frames come, so that no frame is coded after an older one than its predecessor.
        if point.mode is not Mode.SPLIT or not encoder.temporal:
            return None
        return self.references.next(camera, encoder.bundle.prefix)

    def _shadows(self) -> bool:
        """Whether the picture goes along with this frame: one in so many, by chance, so that no camera is left out."""
        every = self._settings.shadow
        return every > 0 and random.random() * every < 1 and not self.limited()

    def _frame(self, shot: Shot, encoded: Encoded) -> Frame:
        return Frame(
            shot.frame_id,
            shot.camera,
            shot.captured_us,
            now_us(),
            encoded.container,
            encoded.timing,
            encoded.content_type,
            shot.data,
            self._settings.frame_max_age_ms,
            shot.idem_key,
            zlib.crc32(shot.data) if shot.idem_key else None,
            encoded.kept,
            encoded.pixels,
            prefix_of(encoded.container),
        )

    async def _promised(self, promise: "asyncio.Future[Accepted]") -> Accepted:
        try:
            return await promise
        except KeyReusedError as e:
            raise FrameError(422, f"{e}; use a new key for a new picture") from e
        except SpoolFullError as e:
            self._meter.refused("spool-full")
            raise _spool_full(str(e)) from e
        except SpoolError as e:
            self._meter.refused("spool-unwritable")
            raise NotNowError(503, "spool-unwritable", str(e), 5) from e

    async def drain(self) -> None:
        """Take nothing more and finish what was begun."""
        self.draining = True
        await self._idle.wait()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)


def _spool_full(message: str) -> NotNowError:
    return NotNowError(503, "spool-full", f"{message}; they are kept until the cloud takes them", 10)


def new_shot(
    camera: str, data: bytes, captured_us: int | None = None, idem_key: str | None = None, pixels: str = ""
) -> Shot:
    """A shot with a new id, captured now unless somebody knows better."""
    now = now_us()
    return Shot(uuid7(now // 1000), camera, now if captured_us is None else captured_us, data, idem_key, pixels)
