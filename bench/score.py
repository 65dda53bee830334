"""Average precision, by COCO's rules: how well detections find what is marked in pictures.

`average_precision` is the kept library's, over all ten overlaps. `Matches` keeps who found what at an overlap of 0.5,
so that the same figure can be had for thousands of re-drawn sets of the pictures without matching again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from common.geometry import Detections, iou_matrix

Boxes = NDArray[np.floating]
OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
SURE = 0.3
"""The score from which a detection of the uncoded network counts as what coding must not lose."""
MOST = 100
"""Detections of a class in a picture that count, best first."""


@dataclass(frozen=True)
class Marks:
    """What is in a picture: boxes [M,4] (x1, y1, x2, y2) with labels [M]. Finding one of a crowd is no matter."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def crowds(self) -> NDArray[np.bool_]:
        """[M] which of them are crowds."""
        return self.crowd if len(self.crowd) else np.zeros(len(self.labels), bool)


def precision(
    truth: Sequence[Marks],
    found: Sequence[Detections],
    classes: int,
    overlaps: NDArray[np.float64] = OVERLAPS,
    sizes: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> NDArray[np.float64]:
    """Return AP [overlaps, 1 + sizes, classes], each the mean of 101 recalls; nan where nothing is marked.

    `sizes` are ranges of the root of a box's area; all boxes come first. `truth` and `found` have one entry a picture.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    marks = [_mark(i, *m) for i, t in enumerate(truth, 1) for m in zip(t.boxes, t.labels, t.crowds, strict=True)]
    results = [_result(i, *d) for i, f in enumerate(found, 1) for d in zip(f.boxes, f.labels, f.scores, strict=True)]
    if not results or not marks:
        nothing = np.full(classes, np.nan)
        nothing[np.unique([m["category_id"] - 1 for m in marks]).astype(int)] = 0
        return np.tile(nothing, (len(overlaps), 1 + len(sizes), 1))
    for number, mark in enumerate(marks, 1):
        mark["id"] = number
    images = [{"id": i, "width": 1, "height": 1} for i in range(1, len(truth) + 1)]
    categories = [{"id": i + 1, "name": str(i)} for i in range(classes)]
    known = COCO({"images": images, "annotations": marks, "categories": categories})
    scorer = COCOeval_faster(known, known.loadRes(results), "bbox", print_function=lambda *_: None)
    scorer.params.iouThrs = overlaps
    scorer.params.areaRngLbl = ["all", *sizes]
    scorer.params.areaRng = [[0.0, 1e10], *([low**2, high**2] for low, high in sizes.values())]
    scorer.evaluate()
    scorer.accumulate()
    # [overlap, recall, class, size, limit]; -1 where a class has no box of a size.
    curve = scorer.eval["precision"].reshape(len(overlaps), 101, classes, 1 + len(sizes), -1)[..., -1]
    return np.where(curve < 0, np.nan, curve).mean(1).transpose(0, 2, 1)


def average_precision(truth: Sequence[Marks], found: Sequence[Detections], classes: int) -> tuple[float, float]:
    """Return AP over overlaps .5 to .95, and AP50: means over the classes that are marked anywhere; 0 if none is."""
    by_class = precision(truth, found, classes)[:, 0]
    present = ~np.isnan(by_class[0])
    if not present.any():
        return 0.0, 0.0
    return float(by_class[:, present].mean()), float(by_class[0, present].mean())


def sure(found: Detections) -> Marks:
    """Return the detections of at least `SURE` as what is to be found."""
    kept = found.scores >= SURE
    return Marks(found.boxes[kept].astype(float), found.labels[kept])


def agreement(reference: Sequence[Detections], found: Sequence[Detections], classes: int) -> float:
    """Return the AP50 of `found` against the sure detections in `reference`, mean over the classes among them.

    This asks what coding changed, not whether the detector was right: uncoded, it is 1.
    """
    return float(Matches([sure(f) for f in reference], found, classes).average_precision()[0])


def _mark(image: int, box: Boxes, label: int, crowd: bool) -> dict:
    return {"image_id": image, "iscrowd": int(crowd), **_record(box, label)}


def _result(image: int, box: Boxes, label: int, score: float) -> dict:
    return {"image_id": image, "score": float(score), **_record(box, label)}


def _record(box: Boxes, label: int) -> dict:
    x1, y1, x2, y2 = (float(v) for v in box)
    return {"category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


@dataclass(frozen=True)
class ClassMatches:
    """One class, detections best first: [D] the picture of each, whether it found a mark; [P] marks in each picture."""

    picture: NDArray[np.int64]
    hit: NDArray[np.bool_]
    marked: NDArray[np.int64]

    def precision(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        """[draws] AP when picture p is there copies[draw, p] times; nan where nothing is marked."""
        weight = copies[:, self.picture]
        hits = np.cumsum(weight * self.hit, 1)[:, self.hit]
        seen = np.cumsum(weight, 1)[:, self.hit]
        total = copies @ self.marked
        with np.errstate(invalid="ignore"):
            share = np.where(seen > 0, hits / seen, 0.0)
            recall = hits / total[:, None]
        best = np.maximum.accumulate(share[:, ::-1], 1)[:, ::-1]
        # The precision at a recall is the best at that recall or beyond; beyond the last hit it is 0.
        best = np.concatenate([best, np.zeros((len(best), 1))], 1)
        at = (recall[:, :, None] < RECALLS).sum(1)
        return np.where(total > 0, np.take_along_axis(best, at, 1).mean(1), np.nan)


class Matches:
    """Who found what in all the pictures, at an overlap of 0.5."""

    def __init__(self, truth: Sequence[Marks], found: Sequence[Detections], classes: int) -> None:
        self.pictures = len(truth)
        self.classes = [self._match(truth, found, label) for label in range(classes)]

    def average_precision(self, copies: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """[draws] AP50 of sets of pictures, picture p being there copies[draw, p] times; without, each once."""
        copies = np.ones((1, self.pictures), np.int64) if copies is None else copies
        of_class = np.array([c.precision(copies) for c in self.classes if c.marked.any()]).reshape(-1, len(copies))
        present = ~np.isnan(of_class)
        return np.where(present, of_class, 0).sum(0) / np.maximum(present.sum(0), 1)

    def _match(self, truth: Sequence[Marks], found: Sequence[Detections], label: int) -> ClassMatches:
        marked = np.array([int(np.sum((t.labels == label) & ~t.crowds)) for t in truth])
        if not marked.any():
            return ClassMatches(np.zeros(0, np.int64), np.zeros(0, bool), marked)
        rows = []
        for number, (t, f) in enumerate(zip(truth, found, strict=True)):
            own, mine = t.labels == label, np.flatnonzero(f.labels == label)
            mine = mine[np.argsort(-f.scores[mine], kind="stable")][:MOST]
            hit = hits(f.boxes[mine], t.boxes[own], t.crowds[own])
            rows += [(-f.scores[d], number, h) for d, h in zip(mine, hit, strict=True) if h is not None]
        rows.sort(key=lambda row: row[0])  # stable: equal scores stay in the order of the pictures
        _, picture, hit = zip(*rows, strict=True) if rows else ((), (), ())
        return ClassMatches(np.array(picture, np.int64), np.array(hit, bool), marked)


def hits(boxes: Boxes, marks: Boxes, crowd: NDArray[np.bool_], least: float = 0.5) -> list[bool | None]:
    """[D] whether each box, best first, finds a mark that none before it found; None if it finds only a crowd."""
    if not len(boxes) or not len(marks):
        return [False] * len(boxes)
    overlap = iou_matrix(boxes.astype(float), marks)
    inside = _inside(boxes.astype(float), marks)
    free = np.where(crowd, 0.0, overlap)
    answer: list[bool | None] = []
    for d in range(len(boxes)):
        best = len(marks) - 1 - int(np.argmax(free[d, ::-1]))  # of equals the last, as COCO does
        if free[d, best] >= least - 1e-10:
            free[:, best] = 0
            answer.append(True)
        else:
            answer.append(None if np.any(inside[d, crowd] >= least - 1e-10) else False)
    return answer


def _inside(boxes: Boxes, marks: Boxes) -> Boxes:
    """[D,M] the share of each box that lies within each mark."""
    corner = np.maximum(boxes[:, None, :2], marks[None, :, :2])
    size = np.minimum(boxes[:, None, 2:], marks[None, :, 2:]) - corner
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.prod(np.maximum(size, 0), axis=2) / np.maximum(area, 1e-9)[:, None]
