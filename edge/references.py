"""What the next frame of a camera may be coded after: the newest one that the cloud has acked.

So no frame is ever coded after one that may be lost, shed or late on its way, whatever becomes of those in between.
What waits for its ack is bounded, and so are the bytes of all of it; with as many as may, further frames are coded
after what there is and are nobody's reference. Cameras that code nothing for a while give way first. The cloud's memory
is another after each of its starts, and what it held before counts no more.

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
CAMERAS = 4096
"""Of more, the one that coded nothing for the longest time begins anew."""
IDLE_S = 10.0
"""A camera that coded nothing for so long begins anew when others need its room."""
OVERHEAD = 512
"""Bytes that a state takes beside its levels, or less."""
IN_VAIN = 2
"""Frames of a camera in a row that had fewer bytes alone, from which fewer are tried after others: where each shows
something else, coding all of them twice would be in vain.
"""
LONGEST_PAUSE = 8
"""Frames between two that are tried."""
MAX_AGE_S = 120.0
"""A frame is coded after another that is no older: the cloud holds it for longer."""


class After(NamedTuple):
    """How the next frame is coded: after this state, if there is one, and to be held by the cloud or not."""

    before: State | None
    keep: bool


_Left = tuple[State, float]
"""What a frame left, and when it was coded."""


@dataclass(slots=True)
class _Camera:
    waiting: OrderedDict[str, _Left] = field(default_factory=OrderedDict)
    """By frame id, in the order of coding: what is to be held."""
    acked: _Left | None = None
    of: bytes = b""
    """The bundle all of this is of."""
    alone: int = 0
    """Frames since one was coded alone."""
    used: float = 0.0
    """When it coded a frame last."""
    size: int = 0
    """Bytes that its last frame left."""
    vain: int = 0
    """Frames in a row that had fewer bytes alone."""
    pause: int = 0
    """Frames until one is tried after another again."""


class References:
    """`next` before a frame is coded, `coded` when it is spooled; `acked`, `ended`, `lost` as the cloud answers."""

    def __init__(
        self, enabled: bool, period: int, max_bytes: int = 32 << 20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes = 0
        """That are held."""
        self.on_dropped: Callable[[str], None] = lambda reason: None
        """Hears of what is not kept though it could have become a reference: `no room`; of a camera's all: `idle`."""
        self._enabled = enabled
        self._period = period
        """One frame in so many is coded alone, whatever there is; 0: only if it must be."""
        self._max_bytes = max_bytes
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
            self.bytes = 0

    def away(self) -> None:
        """The stream has ended: until the next Welcome frames are coded alone. Those that wait may be coded anew."""
        self._here = False
        for mine in self._cameras.values():
            self._forget_waiting(mine)

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
        mine.used = self._clock()
        if mine.of != bundle:
            self._forget(mine)
            mine.of = bundle
        while len(self._cameras) > CAMERAS:
            self._forget(self._cameras.popitem(last=False)[1])
        self._drop_old(mine)
        due = 0 < self._period <= mine.alone + 1
        mine.alone = 0 if due else mine.alone + 1
        before = None if due else self._newest(mine)
        if before is not None and mine.pause:
            before, mine.pause = None, mine.pause - 1
        return After(before, self._may_wait(mine, mine.size))

    def tried(self, camera: str, helped: bool) -> None:
        """A frame for which there was another to be coded after had fewer bytes so, or alone."""
        if (mine := self._cameras.get(camera)) is not None:
            mine.vain = 0 if helped else min(mine.vain + 1, IN_VAIN + LONGEST_PAUSE)
            mine.pause = 0 if mine.vain < IN_VAIN else min(LONGEST_PAUSE, 1 << (mine.vain - IN_VAIN))

    def _may_wait(self, mine: _Camera, size: int) -> bool:
        """Whether one more of this camera may wait, of so many bytes; cameras that are idle give way."""
        if len(mine.waiting) >= WAITING:
            return False
        if size > self._max_bytes:  # nobody's room would do
            self.on_dropped("no room")
            return False
        while self.bytes + size > self._max_bytes:
            oldest = next(iter(self._cameras.values()))
            if mine.used - oldest.used < IDLE_S:
                self.on_dropped("no room")
                return False
            self._forget(self._cameras.popitem(last=False)[1])
            self.on_dropped("idle")
        return True

    def _drop_old(self, mine: _Camera) -> None:
        # What ended here without ever having been sent has no answer to wait for.
        oldest = self._clock() - MAX_AGE_S
        while mine.waiting and next(iter(mine.waiting.values()))[1] < oldest:
            self._take(mine)

    def _newest(self, mine: _Camera) -> State | None:
        if mine.acked is None or self._clock() - mine.acked[1] > MAX_AGE_S:
            self._refer(mine, None)
            mine.alone = 0
            return None
        return mine.acked[0]

    def _forget(self, mine: _Camera) -> None:
        self._forget_waiting(mine)
        self._refer(mine, None)
        mine.alone = mine.size = 0

    def _forget_waiting(self, mine: _Camera) -> None:
        while mine.waiting:
            self._take(mine)

    def _take(self, mine: _Camera) -> tuple[str, _Left]:
        """The frame that has waited longest, out of those that wait."""
        frame, left = mine.waiting.popitem(last=False)
        del self._frames[frame]
        self.bytes -= _size(left[0])
        return frame, left

    def _refer(self, mine: _Camera, left: _Left | None) -> None:
        """This is what the camera's next frames are coded after."""
        self.bytes += (_size(left[0]) if left else 0) - (_size(mine.acked[0]) if mine.acked else 0)
        mine.acked = left

    def coded(self, camera: str, frame: str, bundle: bytes, state: State) -> None:
        """A frame that the cloud is to hold is in the spool."""
        mine = self._cameras.get(camera)
        if mine is None or mine.of != bundle:
            return
        mine.size = _size(state)
        if self._may_wait(mine, mine.size):
            mine.waiting[frame] = state, self._clock()
            self._frames[frame] = camera
            self.bytes += mine.size

    def acked(self, frame: str) -> None:
        """The cloud has decoded this frame: those behind it may be coded after it."""
        mine = self._cameras.get(self._frames.get(frame, ""))
        if mine is None:
            return
        while mine.waiting:
            other, left = self._take(mine)
            if other == frame:
                self._refer(mine, left)
                return

    def lost(self, camera: str) -> None:
        """The cloud does not hold what a frame of this camera was coded after: no other is coded after it."""
        if (mine := self._cameras.get(camera)) is not None:
            self._refer(mine, None)

    def ended(self, frame: str) -> None:
        """The cloud has not decoded it as it was coded, or not at all."""
        mine = self._cameras.get(self._frames.pop(frame, ""))
        if mine is not None and (left := mine.waiting.pop(frame, None)) is not None:
            self.bytes -= _size(left[0])


def _size(state: State) -> int:
    return state.levels.nbytes + OVERHEAD
