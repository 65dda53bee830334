"""What passes through the cloud: a frame as it arrived, and what became of it. Plain values, no machinery."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from common.bundle import Bundle
from common.codec import Container, Layer
from common.types import Detection, Mode

Key = tuple[str, str, int]
"""(edge, epoch, seq): names a packet for ever."""


class Reason(StrEnum):
    """Why a packet will never have a result. The values are the `outcome` of midstream_frames_total."""

    CORRUPT = "corrupt"
    UNKNOWN_BUNDLE = "unknown_bundle"
    EXPIRED = "expired"
    INVALID = "invalid"
    FAILED = "failed"
    MISSING_REFERENCE = "missing_reference"
    """It may come again, coded alone."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The result is in the database. `duplicate`: it had been there before."""

    detections: list[Detection]
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """There will be no result."""

    reason: Reason
    detail: str


Verdict = Stored | Refused


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One validated packet. Times are Unix microseconds; `settle` is called once, on the loop, with the verdict.

    `coded_bytes` are those of the frame, without what went along for its looks: a picture, layers above the base.
    """

    key: Key
    id: str
    camera: str
    captured_us: int
    accepted_us: int
    received_us: int
    expires_us: int | None
    source_bytes: int
    coded_bytes: int
    timing: dict[str, float]
    bundle: Bundle
    container: Container
    settle: Callable[["Frame", Verdict], None]
    anew: bool = False
    """Coded again, alone, because what it was coded after was not held."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a result was made, and what travelled for it: the name of a codec of the container."""

    mode: Mode
    codec: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What the engine found in a frame. `done_ns` is the monotonic clock when it had finished."""

    frame: Frame
    origin: Origin
    detections: list[Detection]
    timing: dict[str, float]
    done_ns: int
    standing: Layer | None = None
    """Of a frame that was coded after another: its base layer as it says the same without it, which is what is kept."""


Outcome = Result | Refused
"""What the engine made of a frame."""


@dataclass(frozen=True, slots=True)
class Original:
    """A picture as the edge received it, byte for byte."""

    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Coded:
    """Layers of a frame, in rising kinds."""

    layers: tuple[Layer, ...]


Pixels = Original | Coded
"""What an edge sends when somebody wants to look."""
