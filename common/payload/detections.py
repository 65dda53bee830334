"""Detections as they travel in mode `edge`: twelve bytes each, best first.

     0       2       4      6      8      10     12
    +-------+-------+------+------+------+------+
    | label | score |  x1  |  y1  |  x2  |  y2  |
    +-------+-------+------+------+------+------+

Scores are 65535ths, sides 65535ths of the picture's width or height: at 1920 pixels within
0.02 of a pixel.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from common.codec import Layer
from common.codec.container import Kind, check
from common.types import Detection

ENTRY = np.dtype([("label", ">u2"), ("score", ">u2"), ("box", ">u2", (4,))])
FULL = 65535


class DetectionList:
    """Codec 4 of docs/bitstream.md: indices into these labels, at most `limit` detections. There is one quality."""

    name: ClassVar[str] = "detections"
    id: ClassVar[int] = 4
    qualities = range(1)
    default_quality = 0

    def __init__(self, labels: Sequence[str], limit: int) -> None:
        self._labels = tuple(labels)
        self._indices = {label: i for i, label in enumerate(self._labels)}
        self._limit = limit

    def encode(self, found: Sequence[Detection], width: int, height: int) -> list[Layer]:
        """Detections in a picture of this size, best first, to one base layer; nothing found is an empty one.

        Those with a side or a score that is no number are left out; sides in the wrong order are put right.
        """
        found = [d for d in found if np.isfinite([d.score, *d.box]).all()]
        entries = np.zeros(len(found), ENTRY)
        entries["label"] = [self._indices[d.label] for d in found]
        entries["score"] = _whole(np.array([d.score for d in found]))
        sides = np.array([d.box for d in found]).reshape(-1, 2, 2) / [width, height]
        entries["box"] = _whole(np.sort(sides, axis=1).reshape(-1, 4))
        return [Layer(Kind.BASE, entries.tobytes())]

    def decode(self, layers: Sequence[Layer], width: int, height: int) -> list[Detection]:
        """The base layer to detections, rounded as the back half's are. Raises BitstreamError."""
        check([x.kind for x in layers] == [Kind.BASE], "layers", "one base layer", [x.kind for x in layers])
        data = layers[0].payload
        check(len(data) % ENTRY.itemsize == 0, "detections", f"a multiple of {ENTRY.itemsize} bytes", len(data))
        most = self._limit * ENTRY.itemsize
        check(len(data) <= most, "detections", f"at most {most} bytes", len(data))
        entries = np.frombuffer(data, ENTRY)
        self._check(entries)
        scores = np.round(entries["score"] / FULL, 4).tolist()
        boxes = np.round(entries["box"] / FULL * [width, height, width, height], 2).tolist()
        return [
            Detection(self._labels[label], score, (x1, y1, x2, y2))
            for label, score, (x1, y1, x2, y2) in zip(entries["label"].tolist(), scores, boxes, strict=True)
        ]

    def _check(self, entries: np.ndarray) -> None:
        labels, scores, box = entries["label"], entries["score"].astype(int), entries["box"]
        check(bool((labels < len(self._labels)).all()), "label", f"below {len(self._labels)}", labels.tolist())
        check(bool((np.diff(scores) <= 0).all()), "scores", "best first", scores.tolist())
        check(bool((box[:, :2] <= box[:, 2:]).all()), "box", "x1 <= x2 and y1 <= y2", box.tolist())


def _whole(shares: np.ndarray) -> np.ndarray:
    """In 65535ths, halves up, as everywhere."""
    whole: np.ndarray = np.floor(np.clip(shares, 0, 1) * FULL + 0.5)
    return whole
