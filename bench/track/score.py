"""How well tracks follow what is there: CLEAR MOT (MOTA, MOTP), IDF1 and HOTA, as their authors define them.

Everything is counted first and divided last, so that the counts of several sequences and classes can be added: the
scores of the sum are those of all of it as one long sequence in which no identity comes twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from common.geometry import iou_matrix

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MATCH = 0.5
"""Overlap from which a box counts as found, for all but HOTA."""
ALPHAS = np.arange(1, 20) / 20
"""The same for HOTA, which is the mean over all of them."""
_EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Boxes:
    """Boxes [N, 4] (x1, y1, x2, y2) of one class in one frame, with identities [N] that are different in a frame."""

    boxes: Floats
    ids: Ints


@dataclass(frozen=True)
class Counts:
    """What scores are made of."""

    truth: int
    """Boxes that are there."""
    found: int
    """Boxes that were found."""
    hit: int
    """Of both, those that match, found frame by frame, in favour of what matched in the frame before."""
    overlap: float
    """Sum of the overlaps of those."""
    switches: int
    """How often something was followed under another identity than before."""
    same: int
    """Boxes that match when each identity may stand for one only, for the whole sequence."""
    hits: Ints
    """[ALPHAS] boxes that match at each overlap, which with which being decided with an eye on the identities."""
    joined: Floats
    """[ALPHAS] sum over those of how far both identities are the same: intersection over union of their frames."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scores(self) -> "Scores":
        """Shares of 1. Where nothing is there and nothing was found, all are 0: there is nothing to be right about."""
        missed, wrong = self.truth - self.hit, self.found - self.hit
        any_alpha = self.truth + self.found - self.hits
        detection = self.hits / np.maximum(1, any_alpha)
        association = self.joined / np.maximum(1, self.hits)
        return Scores(
            mota=(self.hit - wrong - self.switches) / max(1, self.truth),
            motp=self.overlap / max(1, self.hit),
            idf1=2 * self.same / max(1, self.truth + self.found),
            hota=float(np.sqrt(detection * association).mean()),
            detection=float(detection.mean()),
            association=float(association.mean()),
            missed=missed,
            wrong=wrong,
            switches=self.switches,
        )


@dataclass(frozen=True)
class Scores:
    """What is reported."""

    mota: float
    """1 less the share of boxes missed, wrong and switched; below 0 if there are more wrong ones than boxes."""
    motp: float
    """Mean overlap of what matches: an overlap, not a distance, so more is better."""
    idf1: float
    hota: float
    detection: float
    """HOTA's DetA."""
    association: float
    """HOTA's AssA."""
    missed: int
    wrong: int
    switches: int


@dataclass(frozen=True)
class _Frame:
    """Identities as rows and columns that are counted from 0, and how far the boxes overlap [G, F]."""

    truth: Ints
    found: Ints
    alike: Floats


def counts(truth: Sequence[Boxes], found: Sequence[Boxes]) -> Counts:
    """Of one class in one sequence: what is there and what was found, frame by frame."""
    known, rows = _numbered([boxes.ids for boxes in truth])
    told, columns = _numbered([boxes.ids for boxes in found])
    overlaps = [iou_matrix(t.boxes, f.boxes) for t, f in zip(truth, found, strict=True)]
    return of_overlaps([_Frame(*frame) for frame in zip(rows, columns, overlaps, strict=True)], known, told)


def of_overlaps(frames: Sequence[_Frame], known: int, told: int) -> Counts:
    """The same of overlaps, of so many identities that are there and so many that were found."""
    hit, overlap, switches = _clear(frames, known)
    hits, joined = _hota(frames, known, told)
    there, seen = sum(len(f.truth) for f in frames), sum(len(f.found) for f in frames)
    return Counts(there, seen, hit, overlap, switches, _same(frames, known, told), hits, joined)


def _numbered(ids: Sequence[Ints]) -> tuple[int, list[Ints]]:
    """How many different ones there are, and each as a number from 0."""
    every, numbers = np.unique(np.concatenate([*ids, np.zeros(0, np.int64)]), return_inverse=True)
    ends = np.cumsum([len(part) for part in ids])
    return len(every), np.split(numbers.astype(np.int64), ends[:-1]) if len(ids) else []


def _clear(frames: Sequence[_Frame], known: int) -> tuple[int, float, int]:
    """Hits, the sum of their overlaps, switches."""
    hit, overlap, switches = 0, 0.0, 0
    ever, before = np.full(known, -1), np.full(known, -1)
    for frame in frames:
        kept = before[frame.truth][:, None] == frame.found[None]
        score = np.where(frame.alike >= MATCH - _EPSILON, frame.alike + 1000 * kept, 0)
        rows, columns = linear_sum_assignment(score, maximize=True)
        right = score[rows, columns] > 0
        rows, columns = rows[right], columns[right]
        own, other = frame.truth[rows], frame.found[columns]
        switches += int(np.sum((ever[own] >= 0) & (ever[own] != other)))
        before[:] = -1
        before[own] = ever[own] = other
        hit += len(rows)
        overlap += float(frame.alike[rows, columns].sum())
    return hit, overlap, switches


def _same(frames: Sequence[_Frame], known: int, told: int) -> int:
    """Matches of the best pairing of identities."""
    together = np.zeros((known, told))
    for frame in frames:
        rows, columns = np.nonzero(frame.alike >= MATCH - _EPSILON)
        np.add.at(together, (frame.truth[rows], frame.found[columns]), 1)
    rows, columns = linear_sum_assignment(together, maximize=True)
    return int(together[rows, columns].sum())


def _hota(frames: Sequence[_Frame], known: int, told: int) -> tuple[Ints, Floats]:
    """[ALPHAS] hits, and the sum of how far their identities are the same."""
    near = np.zeros((known, told))
    own, other = np.zeros(known), np.zeros(told)
    for frame in frames:
        np.add.at(own, frame.truth, 1)
        np.add.at(other, frame.found, 1)
        either = frame.alike.sum(1)[:, None] + frame.alike.sum(0)[None] - frame.alike
        share = np.where(either > _EPSILON, frame.alike / np.maximum(either, _EPSILON), 0)
        np.add.at(near, (frame.truth[:, None], frame.found[None]), share)
    likely = near / np.maximum(own[:, None] + other[None] - near, _EPSILON)
    together = np.zeros((len(ALPHAS), known, told))
    for frame in frames:
        rows, columns = linear_sum_assignment(likely[np.ix_(frame.truth, frame.found)] * frame.alike, maximize=True)
        right = frame.alike[rows, columns][None] >= ALPHAS[:, None] - _EPSILON
        together[:, frame.truth[rows], frame.found[columns]] += right
    joined = together * together / np.maximum(1, own[None, :, None] + other[None, None] - together)
    return together.sum((1, 2)).astype(np.int64), joined.sum((1, 2))
