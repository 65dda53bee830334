"""What somebody asks a stream to be. The same values come by HTTP and are kept on disk."""

import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer, model_validator

from edge import kept
from edge.streams.address import EXPECTED, MAX_CHARACTERS

MAX_FILE_BYTES = 1 << 20
log = structlog.get_logger(__name__)


class Wanted(BaseModel):
    """A source of video, and which of its frames are to be sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    uri: Annotated[SecretStr, Field(min_length=1, max_length=MAX_CHARACTERS, description=EXPECTED)]
    camera: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "default"
    """What its frames are filed under. One stream a camera."""
    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")] | None = None
    """For people."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    """At most so many frames a second, by the video's time. None: all."""
    mode: Literal["split", "image", "edge", "auto"] | None = None
    """The camera's operating point, as PATCH /v1/operating-point would set it. None: it stays."""
    motion: Annotated[float, Field(gt=0, le=1)] | Literal["off"] = "off"
    """Send a frame only when so large a part of the picture has changed since the last that was sent: 0.005 is half a
    percent, a person in the middle distance."""
    at_least_every_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """With `motion`: send a frame after so many seconds though nothing moves."""
    realtime: bool = True
    """Of a recording: at its own pace, frames left out if the edge cannot keep up. False: every frame, however long
    it takes. What is live is always live."""
    speed: Annotated[float, Field(ge=0.05, le=100)] = 1.0
    """Of a recording played at its own pace: 2 is twice as fast."""
    repeat: bool = False
    """Begin a recording again when it ends."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wanted":
        if not self.realtime and self.speed != 1:
            raise ValueError("speed is for a recording at its own pace: leave it out, or set realtime to true")
        return self

    @field_serializer("uri", when_used="json")
    def _whole(self, uri: SecretStr) -> str:
        return uri.get_secret_value()


class Kept(NamedTuple):
    """A stream as it is on disk. One that has `ended` is not played again when the edge restarts."""

    id: str
    wanted: Wanted
    ended: bool


def write(path: Path, streams: list[Kept]) -> None:
    """Keep them, readable by this user alone: URIs may hold passwords. Raises OSError."""
    lines = [{"id": s.id, "ended": s.ended, "wanted": s.wanted.model_dump(mode="json")} for s in streams]
    kept.write(path, json.dumps({"streams": lines}, indent=1) + "\n")


def read(path: Path) -> list[Kept]:
    """Those that were kept. What cannot be read is left out, and the log says so: an edge must start."""
    if not path.exists():
        return []
    try:
        lines = json.loads(kept.read(path, MAX_FILE_BYTES))["streams"]
        return [found for line in lines if (found := _kept(line)) is not None]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        log.warning("the kept streams cannot be read; there are none now", error=type(e).__name__)
        return []


def _kept(line: dict[str, object]) -> Kept | None:
    try:
        return Kept(str(line["id"]), Wanted.model_validate(line["wanted"]), bool(line["ended"]))
    except (ValidationError, KeyError, TypeError) as e:
        log.warning("a kept stream cannot be read and is left out", error=type(e).__name__)
        return None
