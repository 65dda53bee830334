"""What happened to a stream so far. Each counter has one writer: the thread that reads, or the loop that sends."""

import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from edge.spool import now_us

STALE_S = 5.0
"""A rate that is so old is 0."""


class State(StrEnum):
    """What a stream is doing."""

    OPENING = "opening"
    RUNNING = "running"
    WAITING = "waiting"
    """It does not play; it is tried again, see `reason`."""
    ENDED = "ended"
    """A recording that was played to its end, and all that is wanted of it sent or given up."""


class Pace:
    """Frames a second, over the last of them."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=64)

    def saw(self) -> None:
        """One now."""
        self._times.append(time.monotonic())

    @property
    def fps(self) -> float:
        """Frames a second; 0 if there were none lately."""
        times = list(self._times)
        if len(times) < 2 or time.monotonic() - times[-1] > STALE_S:
            return 0.0
        return round((len(times) - 1) / max(1e-6, times[-1] - times[0]), 2)


@dataclass(slots=True)
class Progress:
    """One stream's."""

    state: State = State.OPENING
    reason: str = ""
    since_us: int = field(default_factory=now_us)
    size: tuple[int, int] | None = None
    codec: str = ""
    resized: int = 0
    """How often the size changed while it played."""
    reconnects: int = 0
    behind_s: float = 0.0
    """Of a recording at its own pace: by how much its frames come too late now."""
    slipped_s: float = 0.0
    """And by how much later it is played than it would be if there had always been time."""
    last_error: str = ""
    last_error_us: int = 0
    last_frame_us: int = 0
    read: int = 0
    skipped_by_rate: int = 0
    skipped_by_motion: int = 0
    late: int = 0
    """Given up for a newer one before there was time for them."""
    refused: int = 0
    """Given up because the edge took no frames then."""
    sent: int = 0
    undecodable: int = 0
    broken_timestamps: int = 0
    read_s: float = 0.0
    """Processor time spent on reading, decoding and sifting."""
    jpeg_s: float = 0.0
    arriving: Pace = field(default_factory=Pace)
    leaving: Pace = field(default_factory=Pace)

    def become(self, state: State, reason: str = "") -> None:
        """Change the state; `reason` is an error's if it says why the source does not play."""
        if state != self.state or reason != self.reason:
            self.state, self.reason, self.since_us = state, reason, now_us()
        if state is State.WAITING:
            self.troubled(reason)

    def troubled(self, error: str) -> None:
        """Something went wrong that the stream survives."""
        self.last_error, self.last_error_us = error, now_us()

    def sized(self, width: int, height: int) -> None:
        """A frame has this size."""
        self.resized += self.size not in (None, (width, height))
        self.size = width, height
