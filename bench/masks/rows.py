"""Measuring: each way to a mask at each pair of qualities, over all photos."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.masks.coding import Masks, Way
from bench.masks.labels import CLASSES, PERSON, UNMARKED, Marked
from bench.masks.score import Confusion, confusion, estimate, mean_overlap, overlap


@dataclass(frozen=True)
class Row:
    """One way at its qualities. All overlaps are over all pixels of all photos at their own size."""

    way: str
    base_quality: int | None
    mask_quality: int | None
    bytes_mean: float | None
    """A photo's, of the container with all layers that the mask needs; None where nothing is coded."""
    mean_iou: float
    low: float
    high: float
    """95 % confidence of `mean_iou`."""
    iou: dict[str, float | None]
    """By class; None for a class that is neither there nor found."""
    camvid_mean_iou: float | None
    pennfudan_person_iou: float | None
    images: int

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class Seen(NamedTuple):
    """One photo in one way."""

    source: str
    bytes: int | None
    counted: Confusion


def measure(
    masks: Masks,
    photos: Iterable[Marked],
    base: Sequence[int],
    mask: Sequence[int],
    tick: Callable[[], None] = lambda: None,
) -> list[Row]:
    """The rows of all ways; `tick` is called once a photo. Raises MidstreamError for a photo that cannot be read."""
    found: dict[Way, list[Seen]] = defaultdict(list)
    for photo in photos:
        truth = photo.labels()
        for shown in masks.of(photo.picture(), base, mask):
            counted = confusion(truth, shown.mask, UNMARKED[photo.source])
            found[shown.way].append(Seen(photo.source, shown.bytes, counted))
        tick()
    return [row(way, seen) for way, seen in found.items()]


def row(way: Way, seen: Sequence[Seen]) -> Row:
    """Of the photos."""
    counted = np.stack([one.counted for one in seen])
    groups = [one.source for one in seen]
    mean = estimate(counted, groups)
    sizes = [one.bytes for one in seen if one.bytes is not None]
    own = {group: counted[[g == group for g in groups]].sum(0) for group in groups}
    return Row(
        way.name,
        way.base,
        way.mask,
        bytes_mean=float(np.mean(sizes)) if sizes else None,
        mean_iou=mean.value,
        low=mean.low,
        high=mean.high,
        iou={name: plain(value) for name, value in zip(CLASSES, overlap(counted.sum(0)), strict=True)},
        camvid_mean_iou=float(mean_overlap(own["camvid"])) if "camvid" in own else None,
        pennfudan_person_iou=plain(overlap(own["pennfudan"])[PERSON]) if "pennfudan" in own else None,
        images=len(seen),
    )


def plain(value: float) -> float | None:
    """As JSON can say it."""
    return None if np.isnan(value) else float(value)
