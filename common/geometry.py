"""Boxes and letterboxes: where a picture lies in the network's square input, and which boxes say the same.

Boxes are x1, y1, x2, y2. Edge, cloud, training and benchmarks all place pictures by this file, so that a
box found in one is right in the others.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.codec.window import Window

GREY = 114
"""The value of the letterbox's border, on all channels."""
BLOCK = 128
"""Boxes that suppression compares pair by pair at once."""

Boxes = NDArray[np.floating]
Fit = Literal["letterbox", "stretch"]


@dataclass(frozen=True)
class Letterbox:
    """A picture of `picture_w` x `picture_h` pixels, resized to `width` x `height` at (`left`, `top`) of a square."""

    picture_w: int
    picture_h: int
    scale: float
    """Network pixels per picture pixel, before the size was rounded."""
    width: int
    height: int
    left: int
    top: int


def letterbox_geometry(picture_w: int, picture_h: int, size: int = 320, fit: Fit = "letterbox") -> Letterbox:
    """Return how a picture fits a `size` x `size` input: as large as it can be and centred, or stretched to fill it."""
    if picture_w < 1 or picture_h < 1:
        raise ValueError(f"a picture of {picture_w} x {picture_h} pixels has no letterbox")
    if fit == "stretch":
        return Letterbox(picture_w, picture_h, size / max(picture_w, picture_h), size, size, 0, 0)
    scale = min(size / picture_w, size / picture_h)
    width = max(1, int(np.floor(picture_w * scale + 0.5)))
    height = max(1, int(np.floor(picture_h * scale + 0.5)))
    return Letterbox(picture_w, picture_h, scale, width, height, (size - width) // 2, (size - height) // 2)


def window(box: Letterbox, size: int) -> Window:
    """Return where the picture lies in a `size` x `size` input, for codecs that leave the border out."""
    return Window(box.left, box.top, box.left + box.width, box.top + box.height, size, size)


def to_network(boxes: Boxes, box: Letterbox) -> Boxes:
    """Return boxes [...,4] in network pixels for boxes in picture pixels."""
    factor, shift = _mapping(box)
    return boxes * factor + shift


def to_picture(boxes: Boxes, box: Letterbox) -> Boxes:
    """Return boxes [...,4] in picture pixels, cut off at the picture's edges, for boxes in network pixels."""
    factor, shift = _mapping(box)
    limit = np.array([box.picture_w, box.picture_h] * 2, boxes.dtype)
    return np.clip((boxes - shift) / factor, 0, limit).astype(boxes.dtype)


def _mapping(box: Letterbox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # The rounded size, not `scale`, says where a pixel really went; the two differ by up to half a pixel.
    factor = np.array([box.width / box.picture_w, box.height / box.picture_h] * 2)
    return factor, np.array([box.left, box.top] * 2, float)


@dataclass(frozen=True)
class Detections:
    """What one picture shows, best first: D boxes."""

    boxes: NDArray[np.float32]
    """[D,4]."""
    scores: NDArray[np.float32]
    """[D] in 0..1."""
    labels: NDArray[np.int64]
    """[D] class indices."""


def nms(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    threshold: float = 0.05,
    iou: float = 0.6,
    limit: int = 100,
    candidates: int = 1000,
) -> Detections:
    """Suppress all but the best of the boxes that overlap by more than `iou` within a class.

    `scores` [A,classes] and `boxes` [A,4]: a cell may speak for several classes. Scores below `threshold` are
    dropped first, then all but the best `candidates`, and at most `limit` detections remain.
    """
    cell, label = np.nonzero(scores >= threshold)
    score = scores[cell, label]
    order = np.argsort(-score, kind="stable")[:candidates]
    cell, label, score = cell[order], label[order], score[order]
    kept = _greedy(boxes[cell], label, iou, limit)
    return Detections(boxes[cell[kept]], score[kept], label[kept])


def iou_matrix(a: Boxes, b: Boxes) -> Boxes:
    """Return the intersection over union [N,M] of boxes [N,4] and [M,4]; 0 where both have no area."""
    a, b = a[:, None], b[None]
    w = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    h = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    common = np.maximum(w, 0) * np.maximum(h, 0)
    union = _area(a) + _area(b) - common
    result: Boxes = common / np.maximum(union, 1e-9)
    return result


def _area(boxes: Boxes) -> Boxes:
    area: Boxes = np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)
    return area


def _greedy(boxes: Boxes, label: NDArray[np.int64], iou: float, limit: int) -> NDArray[np.int64]:
    """Return the indices that survive, given boxes [D,4] best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    # Boxes of different classes are moved apart, so that they never overlap.
    moved = boxes + label[:, None].astype(boxes.dtype) * (boxes.max() - boxes.min() + 1)
    kept: list[int] = []
    # Block by block: a matrix of a block's pairs costs less than a pass over all that is left for each kept box.
    for first in range(0, len(moved), BLOCK):
        block = moved[first : first + BLOCK]
        alive = np.logical_not(np.any(iou_matrix(block, moved[kept]) > iou, axis=1))
        clash = iou_matrix(block, block) > iou
        for i in range(len(block)):
            if alive[i]:
                kept.append(first + i)
                alive &= ~clash[i]
        if len(kept) >= limit:
            break
    return np.array(kept[:limit], np.int64)
