"""What the link carries, told from acks alone. No clock and no I/O of its own: whoever calls says when.

Acked bytes are measured over the time in which something was unacked. Where frames had to wait for the link, it was the
limit and this is its rate; where none had to, the link carries at least that. So an idle link teaches nothing wrong,
and a link that was never the limit has no rate: `rate` is None. Nor does a slow cloud: its acks say how long it had a
frame, and fewer bytes would not help it. Nor does a long way: frames that all take longer than before, but no longer
each than the last, wait for nothing. Those that wait take longer and longer, until no more may be in flight.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import islice

CHUNK_S = 1.0
"""How long a busy link is watched for one sample."""
LATE_S = 0.4
"""A frame that was on the link so much longer than twice the quickest of late took longer than the way alone takes."""
QUICKEST_S = 60.0
"""How long the quickest frame is the measure of the others: a way may become longer for good."""
SLOPE, GROWING = 0.03, 3
"""The link is the limit when the time on it has grown by this share of the time passed, so many samples in a row."""
FALL, RISE = 0.7, 0.3
"""Weight of a sample below and above what was known: a link that breaks in is believed sooner than one that mends."""
DOUBT_S, MOST_DOUBT_S = 600.0, 7200.0
"""How long a rate is believed while nothing waits: a link that has mended cannot show it to an edge that sends little.
Each time the old rate proves true, it is believed twice as long."""
HELD_UP_BYTES = 64 << 10
"""A reply that is no larger holds no frames up for long enough to teach a wrong rate. Its size decides, not how long it
took: on a full link even a refusal waits behind the frames, and to count anew from each would hide the limit just
while somebody looks.
"""
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
    """Call `sent` and `acked` for every frame, `replied` for what goes between them, `broken` when a stream ends,
    `rate_at` to ask.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        """Bytes a second, or None as long as the link was never seen to be the limit."""
        self.hint = 0
        """What the cloud asked not to exceed, bytes a second; 0: nothing."""
        self.seconds_in_flight = 0.0
        """Of frames acked lately, on average."""
        self._flying: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._quickest: deque[tuple[float, float]] = deque()
        """When and how long, of the frames that none since was quicker than: the first is the quickest of all."""
        self._began = 0.0
        self._bytes = 0
        self._least: float | None = None
        """Seconds on the link of this sample's quickest frame, and of the sample before."""
        self._least_before: float | None = None
        self._late = False
        self._late_before = False
        self._full = False
        self._growing = 0
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

    def full(self) -> None:
        """A frame has to wait because as many are in flight as may be: the time on the link can grow no further."""
        self._full = True

    def acked(self, seq: int, now: float, held: float | None = None) -> None:
        """The cloud answered for a frame that it had for `held` seconds; if it does not say, nothing is late."""
        if (flight := self._flying.pop(seq, None)) is None:
            return
        took = now - flight[0]
        self.seconds_in_flight += 0.2 * (took - self.seconds_in_flight)
        self._bytes += flight[1]
        if held is not None and 0 <= held < took:  # longer than it was away: it speaks of something else
            self._on_link(took - held, now)
        if not self._flying or now - self._began >= CHUNK_S:
            self._sample(now)
            self._begin(now)

    def replied(self, size: int, now: float) -> None:
        """Something else of this size had the link until now: if it was large, what is in flight counts from here."""
        if size <= HELD_UP_BYTES:
            return
        self._flying = OrderedDict((seq, (now, size)) for seq, (_, size) in self._flying.items())
        self._forget()
        self._begin(now)

    def broken(self) -> None:
        """The stream has ended: what was in flight will be sent again, perhaps another way."""
        self._flying.clear()
        self._quickest.clear()
        self._forget()
        self._begin(0.0)

    def _forget(self) -> None:
        self._late_before, self._least_before, self._growing = False, None, 0

    def _begin(self, now: float) -> None:
        self._began, self._bytes, self._late, self._least, self._full = now, 0, False, None, False

    def _on_link(self, seconds: float, now: float) -> None:
        while self._quickest and self._quickest[-1][1] >= seconds:
            self._quickest.pop()
        self._quickest.append((now, seconds))
        while self._quickest[0][0] < now - QUICKEST_S:
            self._quickest.popleft()
        self._least = seconds if self._least is None else min(self._least, seconds)
        self._late = self._late or seconds > LATE_S + 2 * self._quickest[0][1]

    def _sample(self, now: float) -> None:
        seconds = now - self._began
        if seconds <= 0:
            return
        seen = self._bytes / seconds
        self._growing = self._growing + 1 if self._late and self._grew(seconds) else 0
        waited = self._late and self._late_before  # once may be a hiccup, of the cloud as well as of the link
        if self._growing >= GROWING or (waited and self._full and self._stands(seen)):
            self._limited(seen, now)
        elif self.rate is not None and seen > self.rate:
            self.rate += (RISE if self._late else 1.0) * (seen - self.rate)
        self._late_before, self._least_before = self._late, self._least

    def _grew(self, seconds: float) -> bool:
        if self._least is None or self._least_before is None:
            return False
        return self._least > self._least_before + SLOPE * seconds

    def _stands(self, seen: float) -> bool:
        """Whether a full window tells the rate: the first time, and as long as it is no less. Where the way is long,
        fewer bytes would only make it less again.
        """
        return self.rate is None or seen >= self.rate

    def _limited(self, seen: float, now: float) -> None:
        if self._doubted is not None:
            proved = seen < 1.25 * self._doubted
            self._believed_s = min(MOST_DOUBT_S, 2 * self._believed_s) if proved else DOUBT_S
            self._doubted = None
        known = seen if self.rate is None else self.rate
        self.rate = known + (FALL if seen < known else RISE) * (seen - known)
        self._limited_at = now
