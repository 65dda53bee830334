"""Results as JSON: the one place that says how a stored row looks outside. Also the models behind /docs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

from cloud.store import Camera, Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Detection(BaseModel):
    """One object."""

    label: str
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the picture")


class Bytes(BaseModel):
    """What was sent, and how large the picture was that it stands for."""

    coded: int
    source: int


class Result(BaseModel):
    """What was found in one frame. Times are RFC 3339 in UTC; `timing` is in milliseconds by stage."""

    id: str
    number: int = Field(description="rises in the order in which results were stored")
    camera: str
    edge: str
    captured_at: datetime
    accepted_at: datetime
    received_at: datetime
    stored_at: datetime
    width: int
    height: int
    detections: list[Detection]
    bytes: Bytes
    bundle: str
    codec: str
    quality: int
    provenance: str
    timing: dict[str, float]


class Page(BaseModel):
    """Some results; `next` is the cursor of those that follow, null at the end."""

    results: list[Result]
    next: str | None


class CameraState(BaseModel):
    """One camera of one edge. `bytes_mean` is the mean of the coded frames; times are those of capture."""

    camera: str
    edge: str
    frames: int
    bytes_mean: float
    first_seen: datetime
    last_seen: datetime
    online: bool
    last_result: Result | None


class Cameras(BaseModel):
    """All cameras by name."""

    cameras: list[CameraState]


FIELDS = frozenset(Result.model_fields)


def timestamp(us: int) -> str:
    """Unix microseconds as RFC 3339."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def result(row: Record) -> dict[str, Any]:
    """A row as it looks outside."""
    return {
        "id": row.id,
        "number": row.number,
        "camera": row.camera,
        "edge": row.edge,
        "captured_at": timestamp(row.captured_us),
        "accepted_at": timestamp(row.accepted_us),
        "received_at": timestamp(row.received_us),
        "stored_at": timestamp(row.stored_us),
        "width": row.width,
        "height": row.height,
        "detections": row.detections,
        "bytes": {"coded": row.coded_bytes, "source": row.source_bytes},
        "bundle": row.bundle,
        "codec": row.codec,
        "quality": row.quality,
        "provenance": row.provenance,
        "timing": row.timing,
    }


def camera(state: Camera, *, online: bool) -> dict[str, Any]:
    """A camera as it looks outside."""
    return {
        "camera": state.camera,
        "edge": state.edge,
        "frames": state.frames,
        "bytes_mean": round(state.coded_bytes / state.frames, 1),
        "first_seen": timestamp(state.first_us),
        "last_seen": timestamp(state.last_us),
        "online": online,
        "last_result": result(state.last) if state.last else None,
    }


def text(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
