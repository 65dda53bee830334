"""Rows as the rest of the cloud sees them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cloud.frame import Result
from common.types import Box, Detection

Found = dict[str, Any]
"""{"label": str, "score": float, "box": [x1, y1, x2, y2]}, and "track_id": int if it is of a track"""


to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Compact."""
_quoted = lru_cache(maxsize=4096)(to_json)


@dataclass(frozen=True, slots=True)
class Record:
    """One stored result: the columns of `results`, in their order. `detections` and `timing` are JSON: most that is
    read is sent on as it is, and parsing it to write it again would cost more than all else.
    """

    number: int
    id: str
    camera: str
    edge: str
    epoch: str
    seq: int
    captured_us: int
    accepted_us: int
    received_us: int
    stored_us: int
    width: int
    height: int
    coded_bytes: int
    source_bytes: int
    bundle: str
    codec: str
    quality: int
    provenance: str
    best_score: float
    detections: str
    timing: str

    def found(self) -> list[Found]:
        """`detections`, parsed."""
        detections: list[Found] = json.loads(self.detections)
        return detections


@dataclass(frozen=True, slots=True)
class Inserted:
    """What an insertion did: `new` in order; `duplicates` had been stored before; of `clashes`, the frame id was
    taken by another packet; `rejected` the database would not take, and why.
    """

    new: list[Record]
    duplicates: list[Result]
    clashes: list[Result]
    rejected: list[tuple[Result, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Camera:
    """What is known of one camera of one edge."""

    camera: str
    edge: str
    frames: int
    coded_bytes: int
    first_us: int
    last_us: int
    last: Record | None


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of a frame, as the edge sent them."""

    content_type: str
    sha256: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """Send for a layer of the frames that hold such a detection: of any camera if `camera` is None, of any label if
    `label` is; in the layer's usual quality if `quality` is; only around those detections if `roi` is "label". The
    columns of `rules`, in their order.
    """

    name: str
    camera: str | None
    label: str | None
    min_score: float
    layer: str
    quality: int | None
    max_per_minute: int
    roi: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed through a camera's frames. The columns of `tracks`, in their order."""

    id: int
    edge: str
    camera: str
    label: str
    votes: str
    first_us: int
    last_us: int
    frames: int
    best_score: float
    last_number: int


@dataclass(frozen=True, slots=True)
class Point:
    """Where a track was in one frame."""

    frame: str
    captured_us: int
    score: float
    box: Box


def record(result: Result, number: int, stored_us: int, store_ms: float, tracks: Mapping[int, int]) -> Record:
    """The row of a result; `tracks` are the ids of those of its detections that are of a track."""
    frame = result.frame
    container = frame.container
    edge, epoch, seq = frame.key
    timing = frame.timing | result.timing | {"store": store_ms}
    return Record(
        number=number,
        id=frame.id,
        camera=frame.camera,
        edge=edge,
        epoch=epoch,
        seq=seq,
        captured_us=frame.captured_us,
        accepted_us=frame.accepted_us,
        received_us=frame.received_us,
        stored_us=stored_us,
        width=container.width,
        height=container.height,
        coded_bytes=frame.coded_bytes,
        source_bytes=frame.source_bytes,
        bundle=frame.bundle.digest,
        codec=result.origin.codec,
        quality=container.quality,
        provenance=result.origin.mode.value,
        best_score=max((d.score for d in result.detections), default=0.0),
        detections=_detections_json(result.detections, tracks),
        timing=to_json({stage: round(ms, 3) for stage, ms in timing.items()}),
    )


def _detections_json(detections: list[Detection], tracks: Mapping[int, int]) -> str:
    # Written out because a frame has up to a hundred, and building dicts to dump them costs twice as much.
    written = []
    for i, d in enumerate(detections):
        x1, y1, x2, y2 = d.box
        of = f',"track_id":{tracks[i]}' if i in tracks else ""
        written.append(f'{{"label":{_quoted(d.label)},"score":{d.score},"box":[{x1},{y1},{x2},{y2}]{of}}}')
    return f"[{','.join(written)}]"


def best_by_label(detections: list[Detection]) -> dict[str, float]:
    """The best score of every label."""
    best: dict[str, float] = {}
    for d in detections:
        best[d.label] = max(d.score, best.get(d.label, 0.0))
    return best
