"""Intersection over union, from how often each class was taken for each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.masks.labels import BACKGROUND, CLASSES, UNKNOWN, Mask
from common.errors import MidstreamError

Confusion = NDArray[np.int64]
"""[..., truth, found] pixels."""

DRAWS, CONFIDENCE = 400, 95


class Estimate(NamedTuple):
    """A figure and where it lies with 95 % confidence, as far as the choice of photos goes."""

    value: float
    low: float
    high: float


def confusion(truth: Mask, found: Mask, unmarked: Sequence[int] = ()) -> Confusion:
    """Of masks of one size; what is UNKNOWN is not counted, and `unmarked` classes that are found are background.

    Raises MidstreamError for masks of two sizes or of classes that there are not.
    """
    if truth.shape != found.shape or found.max() >= len(CLASSES):
        raise MidstreamError(f"expected a mask {truth.shape} of {CLASSES}, got {found.shape} up to {found.max()}")
    known = truth != UNKNOWN
    seen = np.where(np.isin(found, unmarked), BACKGROUND, found)[known].astype(np.int64)
    count = np.bincount(truth[known] * len(CLASSES) + seen, minlength=len(CLASSES) ** 2)
    return count.reshape(len(CLASSES), len(CLASSES))


def overlap(counted: Confusion) -> NDArray[np.float64]:
    """[..., classes] intersection over union; nan for a class that is neither there nor found."""
    hit = np.diagonal(counted, axis1=-2, axis2=-1).astype(np.float64)
    either = counted.sum(-1) + counted.sum(-2) - hit
    return np.divide(hit, either, out=np.full_like(hit, np.nan), where=either > 0)


def mean_overlap(counted: Confusion) -> NDArray[np.float64]:
    """[...] the mean over the classes that have one."""
    by_class = overlap(counted)
    there = ~np.isnan(by_class)
    return np.where(there, by_class, 0).sum(-1) / np.maximum(there.sum(-1), 1)


def estimate(photos: Confusion, groups: Sequence[str], seed: int = 0) -> Estimate:
    """Mean overlap over all pixels of photos [P, truth, found]; photos are drawn again and again within their group."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((DRAWS, *photos.shape[1:]), np.int64)
    for group in dict.fromkeys(groups):
        own = photos[[g == group for g in groups]]
        copies = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), DRAWS)
        drawn += np.tensordot(copies, own, 1)
    low, high = np.percentile(mean_overlap(drawn), ((100 - CONFIDENCE) / 2, (100 + CONFIDENCE) / 2))
    return Estimate(float(mean_overlap(photos.sum(0))), float(low), float(high))
