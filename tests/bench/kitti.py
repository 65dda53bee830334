"""KITTI's tracking labels and a tracker's results as boxes, with what the benchmark leaves out left out.

The rules are the benchmark's own: vans and cars that are cut off or hidden are neither to be found nor wrong if found;
what is small or inside a region that nobody labelled is not wrong either.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from bench.track.score import Boxes
from common.geometry import iou_matrix

SMALL = 25
"""Pixels of height up to which a find without a label is no matter."""


class Line(NamedTuple):
    frame: int
    id: int
    kind: str
    cut_off: float
    hidden: int
    box: tuple[float, ...]


def read(path: Path) -> list[Line]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [Line(int(r[0]), int(r[1]), r[2].lower(), float(r[3]), int(r[4]), tuple(map(float, r[6:10]))) for r in rows]


def sequence(root: Path, name: str) -> tuple[list[Boxes], list[Boxes]]:
    """The cars of a sequence, and what the tracker found of them."""
    labels, results = read(root / "gt" / f"{name}.txt"), read(root / "sort" / f"{name}.txt")
    frames = 1 + max(line.frame for line in (*labels, *results))
    pairs = [
        _frame([x for x in labels if x.frame == t], [x for x in results if x.frame == t and x.kind == "car"])
        for t in range(frames)
    ]
    return [truth for truth, _ in pairs], [found for _, found in pairs]


def _frame(labels: list[Line], found: list[Line]) -> tuple[Boxes, Boxes]:
    cars = [x for x in labels if x.kind in ("car", "van")]
    counts = np.array([x.kind == "car" and x.hidden <= 2 and x.cut_off <= 0 for x in cars], bool)
    boxes = np.array([x.box for x in found]).reshape(-1, 4)
    truth = np.array([x.box for x in cars]).reshape(-1, 4)
    alike = iou_matrix(truth, boxes)
    alike[alike < 0.5 - 1e-12] = 0
    rows, columns = linear_sum_assignment(alike, maximize=True)
    matched = alike[rows, columns] > 0
    rows, columns = rows[matched], columns[matched]
    wrong = np.setdiff1d(np.arange(len(found)), columns)
    regions = np.array([x.box for x in labels if x.kind == "dontcare"]).reshape(-1, 4)
    unheeded = wrong[_small(boxes[wrong]) | _within(boxes[wrong], regions)]
    kept = np.setdiff1d(np.arange(len(found)), np.concatenate([columns[~counts[rows]], unheeded]))
    ids = np.array([x.id for x in cars], np.int64)
    return Boxes(truth[counts], ids[counts]), Boxes(boxes[kept], np.array([x.id for x in found], np.int64)[kept])


def _small(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, 3] - boxes[:, 1] <= SMALL


def _within(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Whether more than half of a box is inside one of the regions."""
    corner = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    size = np.maximum(np.minimum(boxes[:, None, 2:], regions[None, :, 2:]) - corner, 0)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.any(np.prod(size, axis=2) > 0.5 * area[:, None], axis=1)
