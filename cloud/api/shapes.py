"""Results as JSON: the one place that says how a stored row looks outside. Also the models behind /docs.

JSON is put together from pieces of text, because the largest piece, the detections, is text in the database already.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from pydantic import BaseModel, Field

from cloud.offers import offers
from cloud.registry import Registry
from cloud.store import Camera, Record, to_json
from common.curve import expected_agreement
from common.types import Mode

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Detection(BaseModel):
    """One object."""

    label: str
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the picture")
    track_id: int | None = Field(default=None, description="of the object that it is; absent if it is of no track")


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
    quality: int = Field(description="on the scale of what travelled: features, picture or detections")
    provenance: Mode = Field(description="which part of the network ran where")
    expected_agreement: float | None = Field(
        description="AP50 against the uncoded network's own detections, as measured for the bundle; null if not"
    )
    layers: list[str] = Field(description="of the frame: what may be asked for as its image; /v1/frames/{id}/layers")
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
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Shapes:
    """Needs the bundles for what they promise of a result; of a bundle that is held no more nothing is known."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._expected = lru_cache(maxsize=4096)(self._look_up)
        self._layers = lru_cache(maxsize=4096)(self._look_up_layers)

    def result(self, row: Record, fields: Iterable[str] | None = None) -> str:
        """A row as JSON, with these fields only."""
        whole = _columns(row) | {
            "expected_agreement": self._expected(row.bundle, row.provenance, row.quality),
            "layers": self._layers(row.bundle, row.codec, row.width * row.height),
        }
        return json_object(whole if fields is None else {name: whole[name] for name in fields})

    def camera(self, state: Camera, *, online: bool) -> str:
        """A camera as JSON."""
        return json_object(
            {
                "camera": f'"{state.camera}"',
                "edge": f'"{state.edge}"',
                "frames": str(state.frames),
                "bytes_mean": f"{state.coded_bytes / state.frames:.1f}",
                "first_seen": f'"{timestamp(state.first_us)}"',
                "last_seen": f'"{timestamp(state.last_us)}"',
                "online": "true" if online else "false",
                "last_result": self.result(state.last) if state.last else "null",
            }
        )

    def _look_up_layers(self, digest: str, codec: str, pixels: int) -> str:
        there = offers(self._registry.get(digest), codec).items()
        return to_json([name for name, offer in there if offer.suits(pixels)])

    def _look_up(self, digest: str, provenance: str, quality: int) -> str:
        bundle = self._registry.get(digest)
        return to_json(bundle and expected_agreement(bundle.manifest, Mode(provenance), quality))


def _columns(row: Record) -> dict[str, str]:
    """The members that are columns. No string in it needs escaping: all were checked when they came in."""
    return {
        "id": f'"{row.id}"',
        "number": str(row.number),
        "camera": f'"{row.camera}"',
        "edge": f'"{row.edge}"',
        "captured_at": f'"{timestamp(row.captured_us)}"',
        "accepted_at": f'"{timestamp(row.accepted_us)}"',
        "received_at": f'"{timestamp(row.received_us)}"',
        "stored_at": f'"{timestamp(row.stored_us)}"',
        "width": str(row.width),
        "height": str(row.height),
        "detections": row.detections,
        "bytes": f'{{"coded":{row.coded_bytes},"source":{row.source_bytes}}}',
        "bundle": f'"{row.bundle}"',
        "codec": f'"{row.codec}"',
        "quality": str(row.quality),
        "provenance": f'"{row.provenance}"',
        "timing": row.timing,
    }


def page(results: Iterable[str], following: str | None) -> str:
    """Results and the cursor of those that follow."""
    return json_object({"results": f"[{','.join(results)}]", "next": to_json(following)})


def json_object(members: dict[str, str]) -> str:
    """Members, JSON each, as one."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
