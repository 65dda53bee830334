"""What the link carries, told from acks alone. No clock and no I/O of its own: whoever calls says when.

Acked bytes are measured over the time in which something was unacked. Where frames had to wait for the link, it was the
limit and this is its rate; where none had to, the link carries at least that. So an idle link teaches nothing wrong,
and a link that was never the limit has no rate: `rate` is None. Nor does a slow cloud: its acks say how long it had a
frame, and fewer bytes would not help it.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

CHUNK_S = 1.0
"""How long a busy link is watched for one sample."""
LATE_S = 0.4
"""A frame that was on the link so much longer than twice the quickest had to wait there for others."""
FALL, RISE = 0.7, 0.3
"""Weight of a sample below and above what was known: a link that breaks in is believed sooner than one that mends."""
DOUBT_S, MOST_DOUBT_S = 600.0, 7200.0
"""How long a rate is believed while nothing waits: a link that has mended cannot show it to an edge that sends little.
Each time the old rate proves true, it is believed twice as long."""
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Link:
    """The link at one moment, for those who decide what to send over it."""

    rate: float | None = None
    """Bytes a second it carries; None as long as it was never the limit."""
    down_s: float = 0.0
    """How long it has been down, seconds."""
    answered: float | None = None
    """Frames a second the cloud can answer: its window over the time a frame is in flight; None if unknown."""


class Goodput:
    """Call `sent` and `acked` for every frame, `broken` when a stream ends, `rate_at` to ask."""

    def __init__(self) -> None:
        self.rate: float | None = None
        """Bytes a second, or None as long as the link was never seen to be the limit."""
        self.hint = 0
        """What the cloud asked not to exceed, bytes a second; 0: nothing."""
        self.seconds_in_flight = 0.0
        """Of frames acked lately, on average."""
        self._flying: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._quickest = float("inf")
        self._began = 0.0
        self._bytes = 0
        self._late = False
        self._late_before = False
        self._limited_at = 0.0
        self._believed_s = DOUBT_S
        self._doubted: float | None = None

    def __repr__(self) -> str:
        return f"<goodput: {self.rate and round(self.rate)} B/s, {len(self._flying)} in flight>"

    def rate_at(self, now: float) -> float | None:
        """Bytes a second that may be counted on, the cloud's hint as an upper bound; None: no limit is known."""
        if self.rate is not None and now - self._limited_at > self._believed_s:
            self._doubted, self.rate = self.rate, None
        known = [bound for bound in (self.rate, self.hint or None) if bound is not None]
        return min(known, default=None)

    def sent(self, seq: int, size: int, now: float) -> None:
        """A frame of so many bytes was handed to the link."""
        if not self._flying:
            self._begin(now)
        self._flying[seq] = (now, size)
        for old in list(islice(self._flying, max(0, len(self._flying) - _REMEMBERED))):
            del self._flying[old]

    def acked(self, seq: int, now: float, held: float = math.inf) -> None:
        """The cloud answered for a frame that it had for `held` seconds; if it does not say, nothing is late."""
        if (flight := self._flying.pop(seq, None)) is None:
            return
        took = now - flight[0]
        self.seconds_in_flight += 0.2 * (took - self.seconds_in_flight)
        self._bytes += flight[1]
        if math.isfinite(held):
            on_link = max(0.0, took - held)
            self._quickest = min(self._quickest, on_link)
            self._late = self._late or on_link > LATE_S + 2 * self._quickest
        if not self._flying or now - self._began >= CHUNK_S:
            self._sample(now)
            self._begin(now)

    def resumed(self, now: float) -> None:
        """Something else, a picture, had the link until now: what is in flight counts from here."""
        self._flying = OrderedDict((seq, (now, size)) for seq, (_, size) in self._flying.items())
        self._late_before = False
        self._begin(now)

    def broken(self) -> None:
        """The stream has ended: what was in flight will be sent again."""
        self._flying.clear()
        self._bytes, self._late, self._late_before = 0, False, False

    def _begin(self, now: float) -> None:
        self._began, self._bytes, self._late = now, 0, False

    def _sample(self, now: float) -> None:
        seconds = now - self._began
        if seconds <= 0:
            return
        seen = self._bytes / seconds
        if self._late and self._late_before:  # once may be a hiccup, of the cloud as well as of the link
            self._limited(seen, now)
        elif self.rate is not None and seen > self.rate:
            self.rate = seen
        self._late_before = self._late

    def _limited(self, seen: float, now: float) -> None:
        if self._doubted is not None:
            proved = seen < 1.25 * self._doubted
            self._believed_s = min(MOST_DOUBT_S, 2 * self._believed_s) if proved else DOUBT_S
            self._doubted = None
        known = seen if self.rate is None else self.rate
        self.rate = known + (FALL if seen < known else RISE) * (seen - known)
        self._limited_at = now
