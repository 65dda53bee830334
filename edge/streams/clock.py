"""When a frame was, and whether it is its turn. Numbers in, numbers out; times in seconds.

Timestamps of video lie: they are missing, repeat, jump back when a camera reboots, or forward by an hour. Tracking
needs times that go forward at the pace of the world, so what comes out of here always does.
"""

import math

USUAL_INTERVAL_S = 1 / 25
MOST_STEP_S = 10.0
"""Between two frames of a recording; a longer step is a broken timestamp."""
MOST_DELAY_S = 2.0
"""By which a live frame may be behind the best one: what networks and buffers do. Beyond that the camera's clock has
jumped."""
_TREMBLE_S = 0.01
"""By which a camera's times are uneven: without it, one of 25 frames a second that is asked for 25 would lose some."""
TICK_S = 2e-6
"""Two times so far apart are two numbers of microseconds."""
_SLOWER = 1 / 16


def interval_of(rate: float | None) -> float:
    """Seconds between two frames at so many a second, within reason."""
    return 1 / min(240.0, max(0.1, rate)) if rate and math.isfinite(rate) else USUAL_INTERVAL_S


class Forward:
    """The time of day as it would be if nobody ever set the clock back.

    A clock that is set forward is followed at once. One that is set back is waited for: until it has caught up, time
    goes on at nearly the usual pace, as trackers need it.
    """

    def __init__(self) -> None:
        self._at = -math.inf
        self._steady = 0.0

    def at(self, wall: float, steady: float) -> float:
        """Unix seconds, by the clock that may be set and one that may not."""
        passed, self._steady = steady - self._steady, steady
        self._at = max(wall, self._at + passed * (1 - _SLOWER))
        return self._at


class Recorded:
    """The time line of a recording: seconds since its first frame."""

    def __init__(self) -> None:
        self.broken = 0
        """Timestamps that were missing or could not be."""
        self._at = math.nan
        self._stamp: float | None = None
        self._fresh = True

    def begin(self) -> None:
        """It is opened again: its timestamps begin anew, the time line goes on."""
        self._fresh = True

    def at(self, stamp: float | None, interval: float) -> float:
        """When the frame with this timestamp is; where the timestamp is broken, one interval after the one before."""
        if math.isnan(self._at):
            self._at = 0.0
        else:
            self._at += self._step(stamp, interval)
        self._stamp, self._fresh = stamp, False
        return self._at

    def _step(self, stamp: float | None, interval: float) -> float:
        if self._fresh:
            return interval
        step = math.nan if stamp is None or self._stamp is None else stamp - self._stamp
        if 0 < step <= max(MOST_STEP_S, 4 * interval):
            return step
        self.broken += 1
        return interval


class Live:
    """The time line of a live source: when its frames were captured, by the clock that `now` comes from.

    A frame's arrival is its capture and a delay that varies. The timestamps say how the captures lie to each other,
    the frame with the smallest delay says where.
    """

    def __init__(self) -> None:
        self.broken = 0
        self._zero: float | None = None
        """When timestamp 0 was."""
        self._stamp = -math.inf
        self._at = -math.inf

    def at(self, stamp: float | None, now: float) -> float:
        """When the frame was captured that has arrived now; never later, always after the one before."""
        self._at = max(self._at + TICK_S, self._captured(stamp, now))
        return self._at

    def _captured(self, stamp: float | None, now: float) -> float:
        if stamp is None or stamp <= self._stamp:
            self.broken += math.isfinite(self._stamp)  # those of a source without timestamps are not broken
            self._zero, self._stamp = None, -math.inf if stamp is None else stamp
            return now
        self._stamp = stamp
        if self._zero is None:
            self._zero = now - stamp
        elif now - (self._zero + stamp) > MOST_DELAY_S:
            self.broken += 1
            self._zero = now - stamp
        self._zero = min(self._zero, now - stamp)
        return self._zero + stamp


class Rate:
    """At most so many a second, evenly."""

    def __init__(self, fps: float | None) -> None:
        self._interval = 1 / fps if fps else 0.0
        self._due = -math.inf

    def due(self, at: float) -> bool:
        """Whether the frame of this time is to go on."""
        if not self._interval:
            return True
        if at < self._due - min(_TREMBLE_S, self._interval / 4):
            return False
        late = at - self._due > self._interval
        self._due = (at if late else self._due) + self._interval
        return True
