"""From the thread that reads a stream to the event loop that sends its frames: a place for one frame."""

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that is to be sent, and when it was captured."""

    frame: "VideoFrame"
    captured_us: int


class Newest:
    """A newer frame takes the place of one that nobody has taken yet: memory is bounded, and what is sent is fresh."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frame: Taken | None = None
        self._free = threading.Condition()
        self._there = asyncio.Event()
        self._ended = False
        self._closed = False

    def put(self, frame: Taken) -> bool:
        """Offer a frame, from the thread; whether an older one had to give way."""
        with self._free:
            given_up, self._frame = self._frame is not None, frame
        self._tell()
        return given_up

    def hand_over(self, frame: Taken) -> None:
        """Wait until the one before was taken, then put this one: for recordings of which no frame may be lost."""
        with self._free:
            self._free.wait_for(lambda: self._frame is None or self._closed)
            self._frame = frame
        self._tell()

    def _tell(self) -> None:
        if not self._closed:
            self._loop.call_soon_threadsafe(self._there.set)

    def end(self) -> None:
        """No frame comes after the one that waits, if there is one."""
        with self._free:
            self._ended = True
        self._tell()

    async def take(self) -> Taken | None:
        """The newest frame, when there is one; None once there will be none any more."""
        while True:
            await self._there.wait()
            with self._free:
                frame, self._frame = self._frame, None
                ended = self._ended
                self._free.notify()
            if not ended:  # else it stays set: whoever asks again need not wait
                self._there.clear()
            if frame is not None or ended:
                return frame

    def close(self) -> None:
        """Nobody takes anything any more; whoever waits need not."""
        with self._free:
            self._closed = True
            self._frame = None
            self._free.notify()
