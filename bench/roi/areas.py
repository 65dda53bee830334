"""Bytes against area: regions of growing size at many places, and what is seen inside and outside of them."""

import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.pictures import Picture
from common.bundle import Bundle
from common.codec.container import Layer
from common.errors import MidstreamError
from common.layers import BASE, FULL
from common.scalable import PictureLayers
from common.scalable.regions import SEAM, Region

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the picture's area."""
PLACES = 4
"""Regions of each size in a picture."""


class Found(NamedTuple):
    """Of one region. Bytes are payloads'."""

    area: float
    """Share of the picture, as it came out in whole pixels."""
    base_bytes: float
    """The layer below, which every region needs once."""
    region_bytes: float
    share: float
    """Of the bytes of all tiles."""
    inside: float
    """Largest difference to the whole picture, in levels, further in than the seam."""
    rounded: float
    """Share of the values there that differ."""
    outside: float
    """To the base picture, outside."""
    decode_ms: float


@dataclass(frozen=True)
class Row:
    """Regions of one size: means over pictures and places, of the differences the largest, of times the median."""

    fraction: float
    regions: int
    area: float
    base_bytes: float
    region_bytes: float
    share: float
    inside: float
    rounded: float
    outside: float
    decode_ms: float

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class Coded(NamedTuple):
    """A picture with its layers, what is seen without tiles and with all of them."""

    layers: list[Layer]
    base: Picture
    full: Picture


class Areas:
    """A bundle whose picture is in tiles, on one thread."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises MidstreamError if its picture is not in tiles."""
        self.pictures = PictureLayers.open(bundle, threads=1)
        if not any(layer.name == FULL and layer.tiled for layer in self.pictures.layers):
            raise MidstreamError(f"{bundle!r} has no layer {FULL!r} in tiles: no region of it can be had alone")

    def measure(self, pictures: Iterable[tuple[str, Picture]], tick: Callable[[], None]) -> list[Row]:
        """The rows, of pictures and their names. Picture by picture; `tick` after each."""
        found: dict[float, list[Found]] = defaultdict(list)
        for name, picture in pictures:
            height, width = picture.shape[:2]
            coded = self.coded(picture)
            for fraction in FRACTIONS:
                found[fraction] += [self.of(coded, one) for one in places(name, width, height, fraction)]
            tick()
        return [row(fraction, regions) for fraction, regions in found.items()]

    def coded(self, picture: Picture) -> Coded:
        """All layers at their default quality."""
        height, width = picture.shape[:2]
        layers: list[Layer] = []
        for layer in self.pictures.layers:
            layers.append(self.pictures.encode(layer.name, picture, layers))
        shown = [self.pictures.decode(layers, width, height, name) for name in (BASE, FULL)]
        return Coded(layers, *shown)

    def of(self, coded: Coded, region: Region) -> Found:
        """One region, out of its own tiles."""
        height, width = coded.full.shape[:2]
        *below, tiled = coded.layers
        cut = self.pictures.cut(tiled, [region], width, height)
        begin = time.perf_counter()
        shown = self.pictures.decode([*below, cut], width, height, FULL, [region])
        taken = time.perf_counter() - begin
        inner, outer = masks(region, width, height)
        return Found(
            region.width * region.height / (width * height),
            sum(len(layer.payload) for layer in below),
            len(cut.payload),
            len(cut.payload) / len(tiled.payload),
            largest(shown, coded.full, inner),
            float((shown[inner] != coded.full[inner]).mean()) if inner.any() else 0.0,
            largest(shown, coded.base, outer),
            1e3 * taken,
        )


def places(name: str, width: int, height: int, fraction: float) -> list[Region]:
    """Regions of this share of a picture, in its proportions, anywhere in it; the same for the same name."""
    rng = np.random.default_rng((zlib.crc32(name.encode()), round(1e4 * fraction)))
    w, h = (max(1, round(side * fraction**0.5)) for side in (width, height))
    spots = [(int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))) for _ in range(PLACES)]
    return [Region(x, y, w, h) for x, y in dict.fromkeys(spots)]


def masks(region: Region, width: int, height: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What lies further in than the seam, and what lies outside. At the picture's own border there is no seam."""
    inner, outer = np.zeros((height, width), np.bool_), np.ones((height, width), np.bool_)
    right, bottom = region.x + region.width, region.y + region.height
    left_in, top_in = region.x + SEAM * (region.x > 0), region.y + SEAM * (region.y > 0)
    right_in, bottom_in = right - SEAM * (right < width), bottom - SEAM * (bottom < height)
    inner[top_in : max(top_in, bottom_in), left_in : max(left_in, right_in)] = True
    outer[region.y : bottom, region.x : right] = False
    return inner, outer


def largest(one: Picture, other: Picture, where: NDArray[np.bool_]) -> float:
    """Difference of levels in a part of two pictures; 0 for an empty part."""
    return float(np.abs(one[where].astype(np.int16) - other[where]).max(initial=0))


def row(fraction: float, found: Sequence[Found]) -> Row:
    """The means."""
    area, base, region, share, _, rounded, *_ = np.mean(found, 0).tolist()
    inside, outside = (max(getattr(one, side) for one in found) for side in ("inside", "outside"))
    median = float(np.median([one.decode_ms for one in found]))
    return Row(fraction, len(found), area, base, region, share, inside, rounded, outside, median)
