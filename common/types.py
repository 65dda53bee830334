"""The few values that cross from one package to another."""

from dataclasses import dataclass
from enum import StrEnum

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture the edge received; x to the right, y down, absolute."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found in one frame."""

    label: str
    score: float
    box: Box


class Mode(StrEnum):
    """Which part of the network runs where, hence what travels; the provenance of a result.

    picture ──► front half ──► features ──► back half ──► detections
       │                          │                           │
     image                      split                        edge
    """

    SPLIT = "split"
    """The front half at the edge, the back half in the cloud; coded features travel."""
    IMAGE = "image"
    """The whole network in the cloud; the picture travels, no larger than the network takes it."""
    EDGE = "edge"
    """The whole network at the edge; detections travel."""


STAGES = (
    # on the edge
    "decode_picture",
    "front",
    "code",
    "spool",
    "queue",
    # between
    "wire",
    # in the cloud
    "batch",
    "decode_features",
    "back",
    "nms",
    "store",
)
"""The waterfall of a frame, in order. Milliseconds in a result's `timing`, seconds in the metrics.

decode_picture: compressed picture to network input; front: first half of the network; code: what travels to
container; spool: container to durable; queue: durable to sent; wire: sent to received (two clocks: exact only
on one machine or with synchronised clocks, never below 0); batch: received to picked up by the engine;
decode_features: container to what travelled; back: second half of the network; nms: scores to detections;
store: detections to rows handed to the database's commit. In mode `image` the cloud spends `front`, in mode `edge`
the edge spends `back` and `nms`.
"""
