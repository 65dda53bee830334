"""The few values that cross from one package to another."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture the edge received; x to the right, y down, absolute."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found in one frame."""

    label: str
    score: float
    box: Box


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

decode_picture: compressed picture to network input; front: first half of the network; code: features to
container; spool: container to durable; queue: durable to sent; wire: sent to received (two clocks: exact only
on one machine or with synchronised clocks, never below 0); batch: received to picked up by the engine;
decode_features: container to features; back: second half of the network; nms: scores to detections;
store: detections to rows handed to the database's commit.
"""
