"""What coded frames left for those coded after them, camera by camera; and cameras whose next frame must come anew.

An edge codes a frame after one that was acked. So no packet that is lost, shed or late is anybody's reference; what is
held here may go at any time, and a frame whose reference is gone comes again, coded alone.

Used by the engine's thread alone.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cloud.frame import Frame
from common.codec import State
from common.codec.temporal import tables_name
from common.errors import MissingReferenceError

MAX_BYTES = 64 << 20
"""A frame of the embedded detector leaves some 40 kB."""
MAX_AGE_S = 300.0
MOST_AWAITED = 4096
"""Cameras."""
OVERHEAD = 512
"""Bytes that a state takes beside its levels, or less."""

Of = tuple[str, str, str]
"""Edge, camera, digest of the bundle."""


@dataclass(slots=True)
class _Held:
    state: State
    since: float

    @property
    def bytes(self) -> int:
        return self.state.levels.nbytes + OVERHEAD


class States:
    """`held` finds, `keep` keeps. Bounded in bytes and age: what was kept first goes first."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = tables_name() + os.urandom(8)
        """As Welcome.references says it."""
        self.bytes = 0
        self.on_dropped: Callable[[str], None] = lambda reason: None
        """Hears of each that goes before a later frame of its camera was referred to: `no room`, or `age`."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._cameras: OrderedDict[Of, OrderedDict[bytes, _Held]] = OrderedDict()
        """The camera that kept something last at the end; of a camera, what was kept last."""
        self._awaited: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        """(edge, epoch, camera): the seq of the frame that must come anew."""

    def __len__(self) -> int:
        return sum(len(held) for held in self._cameras.values())

    # ---- references

    def held(self, frame: Frame, name: bytes) -> State | None:
        """What the frame is coded after. What its camera left before that goes: no later frame is coded after it."""
        mine = self._cameras.get(_of(frame), OrderedDict())
        if (found := mine.get(name)) is None or self._clock() - found.since > self._max_age_s:
            return None
        while next(iter(mine)) != name:
            self.bytes -= mine.popitem(last=False)[1].bytes
        return found.state

    def keep(self, frame: Frame, state: State) -> None:
        """Hold what a frame left."""
        held = _Held(state, self._clock())
        if held.bytes > self._max_bytes:
            self.on_dropped("no room")
            return
        mine = self._cameras.setdefault(_of(frame), OrderedDict())
        self._cameras.move_to_end(_of(frame))
        if (same := mine.pop(state.name, None)) is not None:
            self.bytes -= same.bytes
        mine[state.name] = held
        self.bytes += held.bytes
        self._evict()

    def _evict(self) -> None:
        oldest = self._clock() - self._max_age_s
        while self._cameras:
            of, mine = next(iter(self._cameras.items()))
            if mine:
                old = next(reversed(mine.values())).since < oldest
                if not old and self.bytes <= self._max_bytes:
                    return
                self.bytes -= mine.popitem(last=False)[1].bytes
                self.on_dropped("age" if old else "no room")
            if not mine:
                del self._cameras[of]

    # ---- order

    def check(self, frame: Frame) -> None:
        """Raise MissingReferenceError if a frame before it must come first."""
        edge, epoch, seq = frame.key
        awaited = self._awaited.get((edge, epoch, frame.camera))
        if awaited is None or seq < awaited:
            return
        if seq > awaited and not frame.anew:
            raise MissingReferenceError(f"frame {awaited} of this camera comes first, coded anew")
        # It is here, and those behind it may come whatever becomes of it, unless it is `missing` again; or it is
        # behind that one and anew: the edge sends in order, so it has given that one up.
        del self._awaited[edge, epoch, frame.camera]

    def missing(self, frame: Frame) -> None:
        """The frame must come anew, and those behind it after it."""
        edge, epoch, seq = frame.key
        of = edge, epoch, frame.camera
        self._awaited[of] = min(seq, self._awaited.get(of, seq))
        self._awaited.move_to_end(of)
        while len(self._awaited) > MOST_AWAITED:
            self._awaited.popitem(last=False)


def _of(frame: Frame) -> Of:
    return frame.key[0], frame.camera, frame.bundle.digest
