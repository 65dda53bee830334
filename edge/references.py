"""What the next frame of a camera may be coded after: the newest one that the cloud has acked.

So no frame is ever coded after one that may be lost, shed or late on its way, whatever becomes of those in between.
What waits for its ack is bounded; with as many as may, further frames are coded after what there is and are nobody's
reference. The cloud's memory is another after each of its starts, and what it held before counts no more.

Used on the event loop.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.codec import State
from common.codec.temporal import tables_name

WAITING = 16
"""Frames of a camera that may become references, at once."""
CAMERAS = 128
"""Of more, the one that coded nothing for the longest time begins anew."""
MAX_AGE_S = 120.0
"""A frame is coded after another that is no older: the cloud holds it for longer."""


class After(NamedTuple):
    """How the next frame is coded: after this state, if there is one, and to be held by the cloud or not."""

    before: State | None
    keep: bool


@dataclass(slots=True)
class _Camera:
    waiting: OrderedDict[str, tuple[State, float]] = field(default_factory=OrderedDict)
    """By frame id, in the order of coding: what was coded, to be held, and when."""
    acked: tuple[State, float] | None = None
    of: bytes = b""
    """The bundle all of this is of."""
    alone: int = 0
    """Frames since one was coded alone."""


class References:
    """`next` before a frame is coded, `coded` when it is spooled; `acked`, `ended`, `lost` as the cloud answers."""

    def __init__(self, enabled: bool, period: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._enabled = enabled
        self._period = period
        """One frame in so many is coded alone, whatever there is; 0: only if it must be."""
        self._clock = clock
        self._memory = b""
        self._here = False
        """Whether the cloud is there. Frames that may wait for days must not need what it holds for minutes."""
        self._cameras: OrderedDict[str, _Camera] = OrderedDict()
        self._frames: dict[str, str] = {}
        """The camera of each frame that waits."""

    def welcome(self, memory: bytes) -> None:
        """The cloud's Welcome.references. Another memory than the last one holds nothing of ours."""
        self._here = True
        if memory != self._memory:
            self._memory = memory
            self._cameras.clear()
            self._frames.clear()

    def away(self) -> None:
        """The stream has ended: until the next Welcome frames are coded alone. Those that wait may be coded anew."""
        self._here = False
        for mine in self._cameras.values():
            mine.waiting.clear()
        self._frames.clear()

    @property
    def on(self) -> bool:
        """Whether frames are coded after others."""
        return self._enabled and self._here and self._memory.startswith(tables_name())

    def next(self, camera: str, bundle: bytes) -> After | None:
        """How this camera's next frame is coded with the bundle of this prefix; None: by the codec as it is."""
        if not self.on:
            return None
        mine = self._cameras.setdefault(camera, _Camera())
        self._cameras.move_to_end(camera)
        if mine.of != bundle:
            self._forget(mine)
            mine.of = bundle
        while len(self._cameras) > CAMERAS:
            self._forget(self._cameras.popitem(last=False)[1])
        self._drop_old(mine)
        due = 0 < self._period <= mine.alone + 1
        mine.alone = 0 if due else mine.alone + 1
        return After(None if due else self._newest(mine), len(mine.waiting) < WAITING)

    def _drop_old(self, mine: _Camera) -> None:
        # What ended here without ever having been sent has no answer to wait for.
        oldest = self._clock() - MAX_AGE_S
        while mine.waiting and next(iter(mine.waiting.values()))[1] < oldest:
            del self._frames[mine.waiting.popitem(last=False)[0]]

    def _newest(self, mine: _Camera) -> State | None:
        if mine.acked is None or self._clock() - mine.acked[1] > MAX_AGE_S:
            mine.acked, mine.alone = None, 0
            return None
        return mine.acked[0]

    def _forget(self, mine: _Camera) -> None:
        for frame in mine.waiting:
            self._frames.pop(frame, None)
        mine.waiting.clear()
        mine.acked, mine.alone = None, 0

    def coded(self, camera: str, frame: str, bundle: bytes, state: State) -> None:
        """A frame that the cloud is to hold is in the spool."""
        mine = self._cameras.get(camera)
        if mine is None or mine.of != bundle or len(mine.waiting) >= WAITING:
            return
        mine.waiting[frame] = state, self._clock()
        self._frames[frame] = camera

    def acked(self, frame: str) -> None:
        """The cloud has decoded this frame: those behind it may be coded after it."""
        mine = self._cameras.get(self._frames.get(frame, ""))
        if mine is None:
            return
        while mine.waiting:
            other, left = mine.waiting.popitem(last=False)
            del self._frames[other]
            if other == frame:
                mine.acked = left
                return

    def lost(self, camera: str) -> None:
        """The cloud does not hold what a frame of this camera was coded after: no other is coded after it."""
        if (mine := self._cameras.get(camera)) is not None:
            mine.acked = None

    def ended(self, frame: str) -> None:
        """The cloud has not decoded it as it was coded, or not at all."""
        mine = self._cameras.get(self._frames.pop(frame, ""))
        if mine is not None:
            mine.waiting.pop(frame, None)
