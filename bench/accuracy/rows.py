"""Measuring: one codec at one quality over all photos is a row; a sweep is the rows of a codec that are of interest."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.scene import Scene
from bench.accuracy.ways import Coded, Way
from bench.score import Matches, agreement, average_precision, sure
from common.geometry import Detections

SPAN = (0.80, 0.98)
"""Agreements of interest. Below, the network sees something else; above, nobody could tell the difference."""
FEW = 4
"""One photo of so many tells about where the span lies."""

Tick = Callable[[], None]


@dataclass(frozen=True)
class Row:
    """One codec at one quality. Bytes are per photo; times are medians over the photos, on one thread."""

    codec: str
    quality: int
    bytes_mean: float
    bytes_p95: float
    bits_per_element: float | None
    """Of the features; None for a coded picture."""
    ap: float | None
    ap50: float | None
    """Against people's marks, of the classes the bundle knows; None without marks."""
    agreement_ap50: float
    encode_ms: float
    decode_ms: float | None
    """None if `encode_ms` is both."""
    images: int

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A row and what it was made of, from which its confidence follows."""

    row: Row
    sizes: NDArray[np.int64]
    """[images] bytes."""
    agreed: Matches
    """With the uncoded network."""
    right: Matches | None
    """With people's marks."""


class Attempt:
    """One codec at one quality, photo by photo. Each is coded once, however often it is looked at."""

    def __init__(self, scene: Scene, way: Way, quality: int, tick: Tick = lambda: None) -> None:
        """Code nothing yet; `tick` will be called once a photo."""
        self._scene, self._way, self._quality, self._tick = scene, way, quality, tick
        self._seen: dict[int, tuple[Coded, Detections]] = {}

    def agreement(self, photos: Sequence[int]) -> float:
        """With the uncoded network, on these photos only."""
        found = [self._at(i)[1] for i in photos]
        return agreement([self._scene.uncoded[i] for i in photos], found, self._scene.classes)

    def measured(self) -> Measured:
        """The row, over all photos."""
        coded, found = zip(*(self._at(i) for i in range(len(self._scene.shots))), strict=True)
        return judged(self._scene, self._way, self._quality, coded, found)

    def _at(self, i: int) -> tuple[Coded, Detections]:
        if i not in self._seen:
            coded = self._way.code(i, self._quality)
            found = self._scene.split.finish(coded.features, self._scene.shots[i].picture)
            self._seen[i] = coded._replace(features=()), found
            self._tick()
        return self._seen[i]


def measure(scene: Scene, way: Way, quality: int) -> Measured:
    """One row."""
    return Attempt(scene, way, quality).measured()


def judged(scene: Scene, way: Way, quality: int, coded: Sequence[Coded], found: Sequence[Detections]) -> Measured:
    """The row of what was coded and found."""
    sizes = np.array([c.bytes for c in coded], np.int64)
    agreed = Matches([sure(d) for d in scene.uncoded], found, scene.classes)
    marks = scene.marks
    ap, ap50 = average_precision(marks, found, scene.classes) if marks else (None, None)
    decode_ms = 1e3 * float(np.median([c.decode_s for c in coded]))
    row = Row(
        codec=way.name,
        quality=quality,
        bytes_mean=float(sizes.mean()),
        bytes_p95=float(np.percentile(sizes, 95)),
        bits_per_element=8 * float(sizes.mean()) / scene.elements if way.features else None,
        ap=ap,
        ap50=ap50,
        agreement_ap50=float(agreed.average_precision()[0]),
        encode_ms=1e3 * float(np.median([c.encode_s for c in coded])),
        decode_ms=decode_ms or None,
        images=len(coded),
    )
    return Measured(row, sizes, agreed, Matches(marks, found, scene.classes) if marks else None)


def sweep(scene: Scene, way: Way, tick: Tick = lambda: None) -> Iterator[Measured]:
    """The rows of the ladder that cover the span, as they are measured.

    A few photos tell about where it begins and ends, by halving, as agreement rises with quality but for noise. They
    say too much: with fewer photos there are fewer false finds to be ranked above true ones. So rows are added at
    either end until all photos say that it is covered, or there are no more.
    """
    few, last = range(0, len(scene.shots), FEW), len(way.ladder) - 1
    attempts = [Attempt(scene, way, quality, tick) for quality in way.ladder]
    low, high = (bisect_left(range(last), edge, key=lambda i: attempts[i].agreement(few)) for edge in SPAN)
    rows = {}
    for i in range(min(low, high), high + 1):
        rows[i] = attempts[i].measured()
        yield rows[i]
    while min(rows) > 0 and rows[min(rows)].row.agreement_ap50 > SPAN[0]:
        rows[min(rows) - 1] = attempts[min(rows) - 1].measured()
        yield rows[min(rows)]
    while max(rows) < last and rows[max(rows)].row.agreement_ap50 < SPAN[1]:
        rows[max(rows) + 1] = attempts[max(rows) + 1].measured()
        yield rows[max(rows)]
