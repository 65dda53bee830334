"""Whose turn it is on a stream: frames in the order of the spool, but a camera of which one goes anew waits for that.

    spool -> read -> next -> sent -> lost, where the cloud lacks its reference -> due -> coded -> next, as anew

The cloud takes nothing of a camera until the frame comes that it waits for. Other cameras do not wait with it: order is
promised camera by camera.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge.spool import Pending

HELD = 256
HELD_BYTES = 16 << 20
"""Frames that were read while their cameras wait, and bytes of them; and frames that are to go anew. With more of
either, the other cameras wait too.
"""


class Turn(NamedTuple):
    """What goes next."""

    frame: Pending
    anew: bool


class Turns:
    """Of one stream. Used on the event loop; nothing here waits."""

    def __init__(self) -> None:
        self.some_lost = asyncio.Event()
        """Set while there are frames to be coded anew."""
        self._frames: deque[Pending] = deque()
        """Read from the spool and not sent, in order."""
        self._bytes = 0
        self._lost: dict[str, list[Pending]] = {}
        """By camera."""
        self._coding: dict[str, int] = {}
        """How many of a camera's frames are being coded anew, or wait to be sent then."""
        self._anew = 0
        """Frames that were lost and have not been sent again."""
        self._coded: deque[Pending] = deque()

    def read(self, frames: Sequence[Pending]) -> None:
        """These come next in the spool."""
        self._frames.extend(frames)
        self._bytes += sum(len(frame.payload) for frame in frames)

    @property
    def ready(self) -> bool:
        """Whether a frame can go."""
        return bool(self._coded) or self._place() is not None

    @property
    def hungry(self) -> bool:
        """Whether more must be read for a frame to go, and there is room for it."""
        return not self.ready and len(self._frames) < HELD and self._bytes < HELD_BYTES

    def next(self) -> Turn:
        """The frame that goes now, out of those that are `ready`."""
        if self._coded:
            frame = self._coded.popleft()
            self._done(frame)
            return Turn(frame, anew=True)
        place = self._place()
        assert place is not None
        frame = self._frames[place]
        del self._frames[place]
        self._bytes -= len(frame.payload)
        return Turn(frame, anew=False)

    def _place(self) -> int | None:
        """Where the first of those that were read stands whose camera does not wait."""
        if not self._anew:
            return 0 if self._frames else None
        if self._anew >= HELD:
            return None
        waiting = self._lost.keys() | self._coding.keys()
        return next((i for i, frame in enumerate(self._frames) if frame.camera not in waiting), None)

    # ---- anew

    def lost(self, frame: Pending) -> None:
        """The cloud did not take it: it lacks what this frame, or one before it, was coded after."""
        self._lost.setdefault(frame.camera, []).append(frame)
        self._anew += 1
        self.some_lost.set()

    def due(self, in_flight: Iterable[Pending]) -> list[Pending]:
        """One camera's frames to be coded anew, in order: none as long as others of it are in flight, which will come
        back too. Each must be `coded` or `given_up` then.
        """
        busy = {frame.camera for frame in in_flight} | self._coding.keys()
        camera = next((camera for camera in self._lost if camera not in busy), None)
        if camera is None:
            return []
        frames = sorted(self._lost.pop(camera), key=lambda frame: frame.seq)
        self._coding[camera] = len(frames)
        if not self._lost:
            self.some_lost.clear()
        return frames

    def coded(self, frame: Pending) -> None:
        """It has been coded anew."""
        self._coded.append(frame)

    def given_up(self, frame: Pending) -> None:
        """It cannot be coded anew."""
        self._done(frame)

    def _done(self, frame: Pending) -> None:
        self._anew -= 1
        self._coding[frame.camera] -= 1
        if not self._coding[frame.camera]:
            del self._coding[frame.camera]
