"""What goes into the spool, what comes out, and what it refuses."""

import time
from dataclasses import dataclass, field

from common.errors import MidstreamError

FRAME_OVERHEAD = 512
"""What a queued frame takes on disk beside its payload: the other columns and its places in the indexes."""


class SpoolError(MidstreamError):
    """The spool cannot be opened, read or written; the message says why."""


class RingError(SpoolError):
    """What the ring has cannot be read, now or for good; the message says why."""


class SpoolFullError(SpoolError):
    """Frames the cloud has not acked fill the spool."""


class KeyReusedError(MidstreamError):
    """An Idempotency-Key came a second time with another picture."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the spool."""

    max_bytes: int
    max_age_s: float
    ring_max_bytes: int
    ring_max_age_s: float
    ledger_max_rows: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A coded frame and the picture it came from, about to be promised."""

    frame_id: str
    camera: str
    captured_us: int
    accepted_us: int
    payload: bytes
    timing: dict[str, float]
    content_type: str
    picture: bytes
    max_age_ms: int = 0
    idem_key: str | None = None
    fingerprint: int | None = None
    container: bytes = b""
    """What is kept beside the picture to code enhancements by; empty if the frame's codec has none."""
    pixels: str = ""
    """What became of the enhancement that was asked for with the frame; empty if none was."""
    bundle: bytes = b""
    """What `container` cannot be used without: the first bytes of a digest."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was promised. `replay`: it had been promised before, under the same Idempotency-Key."""

    frame_id: str
    seq: int
    camera: str
    accepted_us: int
    coded_bytes: int
    source_bytes: int
    timing: dict[str, float]
    pixels: str = ""
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A frame the cloud has not acked."""

    seq: int
    frame_id: str
    camera: str
    captured_us: int
    accepted_us: int
    max_age_ms: int
    source_bytes: int
    timing: dict[str, float]
    payload: bytes
    pixels: str = ""
    """What the ledger says of the enhancement that was asked for with it; empty if none was."""

    def expired(self, now_us: int) -> bool:
        """Whether it is not worth sending any more."""
        return self.max_age_ms > 0 and now_us - self.captured_us > self.max_age_ms * 1000


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger says of a frame."""

    frame_id: str
    seq: int
    camera: str
    captured_us: int
    accepted_us: int
    coded_bytes: int
    source_bytes: int
    timing: dict[str, float]
    state: str
    reason: str
    finished_us: int | None
    picture: str
    pixels: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A frame that has just reached its final state."""

    seq: int
    camera: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """The spool in numbers, as of the last transaction."""

    queued: int = 0
    queued_bytes: int = 0
    oldest_us: int | None = None
    pictures: int = 0
    picture_bytes: int = 0
    ledger: int = 0
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    charged: int = 0
    """Bytes of the queued frames as the bound counts them."""


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
