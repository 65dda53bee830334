"""A frame's layer in tiles: which of them a part of the picture needs, which are here, which to ask the edge for.

Tiles are cut out and joined as they are: nothing is decoded here.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.opened import Opened
from cloud.replies import MAX_BYTES
from common.bundle import Bundle
from common.codec import Layer
from common.layers import MOST_REGIONS
from common.scalable.regions import MARGIN, Region, touched

Regions = tuple[Region, ...]
Size = tuple[int, int]
"""Width and height of a picture."""
Grid = NDArray[np.bool_]
"""[rows, columns] of tiles."""


class Part(NamedTuple):
    """What is here of a layer for some regions."""

    layer: Layer
    """These tiles alone."""
    missing: Regions | None
    """What to ask for so that the others come: none if all are here, None for all of the layer."""
    damaged: Grid
    """Which of those that are here fail their check."""


class Tiles:
    """What is done with tiles is done in threads: a large picture has thousands."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def part(self, bundle: Bundle, layer: Layer, regions: Regions | None, size: Size) -> Part:
        """Of what is here of a layer, what these regions need; None: all. Raises BitstreamError, BundleError."""
        return await asyncio.to_thread(self._part, bundle, layer, regions, size)

    async def joined(self, bundle: Bundle, layers: Sequence[Layer], size: Size) -> Layer:
        """The tiles of all of these, of one quality, or of the last alone if they would be too many bytes.

        Raises BitstreamError if it cannot be read, BundleError.
        """
        return await asyncio.to_thread(self._joined, bundle, layers, size)

    async def count(self, bundle: Bundle, layer: Layer, size: Size) -> tuple[int, int]:
        """How many tiles are here, of how many. Raises BitstreamError, BundleError."""
        here = await asyncio.to_thread(lambda: self._opened.of(bundle).tiles(layer, *size))
        return int(here.sum()), here.size

    def _part(self, bundle: Bundle, layer: Layer, regions: Regions | None, size: Size) -> Part:
        layers = self._opened.of(bundle)
        cut = layers.cut(layer, regions, *size)
        here = layers.tiles(cut, *size)
        pixels = tile_pixels(bundle, layer.kind)
        wanted = np.ones(here.shape, np.bool_)
        if regions is not None:
            wanted = touched([region.grown(MARGIN, *size) for region in regions], pixels, *here.shape)
        missing, damaged = wanted & ~here, here & ~layers.tiles(cut, *size, sound=True)
        return Part(cut, covering(missing, pixels, size), damaged)

    def _joined(self, bundle: Bundle, parts: Sequence[Layer], size: Size) -> Layer:
        layers, joined = self._opened.of(bundle), parts[-1]
        layers.tiles(joined, *size)  # what cannot be read is not kept
        for part in parts[:-1]:
            joined = layers.join(part, joined, *size)
        return joined if len(joined.payload) <= MAX_BYTES else parts[-1]


def covering(grid: Grid, pixels: int, size: Size) -> Regions | None:
    """Regions that need the tiles of a grid and, but for narrow ones at the picture's edge, no others; None if they
    would be too many.
    """
    regions = []
    for top, left, bottom, right in rectangles(grid):
        x, width = _within(left, right, grid.shape[1], pixels, size[0])
        y, height = _within(top, bottom, grid.shape[0], pixels, size[1])
        regions.append(Region(x, y, width, height))
        if len(regions) > MOST_REGIONS:
            return None
    return tuple(regions)


def rectangles(grid: Grid) -> Iterator[tuple[int, int, int, int]]:
    """The cells of a grid that are set, each once: top, left, bottom, right."""
    begun: dict[tuple[int, int], int] = {}
    for number, row in enumerate([*grid, np.zeros(grid.shape[1], np.bool_)]):
        spans = set(_spans(row))
        for span in sorted(begun.keys() - spans):
            yield begun.pop(span), span[0], number, span[1]
        begun |= dict.fromkeys(spans - begun.keys(), number)


def _spans(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _within(begin: int, end: int, count: int, pixels: int, size: int) -> tuple[int, int]:
    """Begin and length of what, with the margin, touches tiles begin..end of `count` along an axis of `size` pixels."""
    low = 0 if begin == 0 else min(begin * pixels + MARGIN, size - 1)
    high = size if end == count else end * pixels - MARGIN
    return low, high - low


def tile_pixels(bundle: Bundle, kind: int) -> int:
    """Along a side of a tile of this layer."""
    (layer,) = (layer for layer in bundle.manifest.layers if layer.kind == kind)
    return layer.tile * layer.stride
