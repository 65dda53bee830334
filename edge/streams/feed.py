"""The newest frame of a stream → JPEG → intake, where it is treated like one that was posted."""

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from common.errors import MidstreamError
from edge.intake import Intake, NotNowError, new_shot
from edge.streams.newest import Newest
from edge.streams.progress import Progress

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

IN_HAND = 2
"""Frames of one stream in the intake at once: while one is being written to disk, the next is coded. One where frames
are offered again until they are taken: a second could be taken before it, and time would go back."""
PAUSE_S = 1.0
"""Before the next frame when the edge takes none now."""

log = structlog.get_logger(__name__)


class Feed:
    """One task for each stream: `run`; then `settle`."""

    def __init__(self, camera: str, patient: bool, frames: Newest, intake: Intake, told: Progress) -> None:
        self._camera = camera
        self._patient = patient
        """Whether a frame is offered again until the edge takes it."""
        self._frames = frames
        self._intake = intake
        self._told = told
        self._room = asyncio.Semaphore(1 if patient else IN_HAND)
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send what comes, until cancelled; return when the last frame of a recording is sent, or given up."""
        while True:
            await self._room.acquire()  # before a frame is taken: it would grow old waiting
            taken = await self._frames.take()
            if taken is None:
                break
            data = await self._coded(taken.frame)
            if data is None:
                self._room.release()
                continue
            # Begun in the order of the frames: the intake keeps to that order.
            task = asyncio.create_task(self._send(data, taken.captured_us))
            self._sending.add(task)
            task.add_done_callback(self._sent)
            del taken, data  # not needed in memory while waiting for the next
        if self._sending:
            await asyncio.wait(self._sending)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._sending.discard(task)
        self._room.release()

    async def settle(self, seconds: float) -> None:
        """Wait for the frames that are in the intake. Those that it did not take are not offered again."""
        self._patient = False
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)

    async def _coded(self, frame: "VideoFrame") -> bytes | None:
        try:
            return await asyncio.to_thread(_jpeg, frame, self._told)
        except Exception as e:
            self._told.undecodable += 1
            self._told.troubled(f"a frame could not be made a JPEG: {type(e).__name__}")
            log.exception("a frame of a stream could not be made a JPEG", camera=self._camera)
            return None

    async def _send(self, data: bytes, captured_us: int) -> None:
        try:
            await self._give(data, captured_us)
        except MidstreamError as e:
            self._given_up(str(e))
        except Exception:
            self._given_up("the edge made a mistake; its log says which")
            log.exception("a frame of a stream was not taken by mistake", camera=self._camera)
        else:
            self._told.sent += 1
            self._told.leaving.saw()

    def _given_up(self, why: str) -> None:
        self._told.refused += 1
        self._told.troubled(why)

    async def _give(self, data: bytes, captured_us: int) -> None:
        """To the intake; on disk when this returns. Raises MidstreamError if the frame is not taken."""
        while True:
            try:
                with self._intake.room(len(data)):
                    await self._intake.take(new_shot(self._camera, data, captured_us))
            except NotNowError as e:
                await asyncio.sleep(min(PAUSE_S, e.retry_after))  # the next ones wait too, and then the newest is next
                if not self._patient:
                    raise
            else:
                return


def _jpeg(frame: "VideoFrame", told: Progress) -> bytes:
    from edge.streams import still

    began = time.thread_time()
    data = still.jpeg(frame)
    told.jpeg_s += time.thread_time() - began
    return data
