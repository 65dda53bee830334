"""The networks between a picture and its latent of a cell for `stride` x `stride` pixels, run by tiles.

So what they need of memory does not grow with the picture. The picture is continued to whole cells, flat, which costs
the fewest bits; nobody but the encoder sees that.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from common.errors import BundleError
from common.scalable.latent_features import Features, Fixed, in_units
from common.scalable.networks import Networks
from common.scalable.regions import Regions, Where, weights
from common.scalable.tiles import Tile, scaled, tiles, tiles_over

Pixels = NDArray[np.uint8]
Source = Callable[[Where], Features]
"""Gives [3, h, w] of those cells."""
Parts = Iterator[tuple[Where, Features]]
"""Of a picture: where in it, and [3, h, w] in 0..1."""

TILE = 48
"""Cells in a tile, each way: 768 pixels."""
HALO = 4
"""Cells around it: 64 pixels. The networks of `denoise` reach 190, but see nothing there that shows."""


class PictureNetworks:
    """Runs them; `tile` and `halo` are cells."""

    def __init__(self, networks: Networks, stride: int) -> None:
        self.networks, self.stride = networks, stride
        self.tile, self.halo = TILE, HALO

    def analyse(
        self,
        name: str,
        taken: str,
        source: Source,
        given: Mapping[str, Features],
        step: float | None = None,
        **beside: Features,
    ) -> None:
        """Fill in latents float32 [C, rows, columns], all of as many cells, which the network gives by these names.

        The network takes what `source` shows under the name `taken`, the step if it wants to know it, and beside them
        what is on the grid of cells.
        """
        rows, columns = next(iter(given.values())).shape[1:]
        parts = list(tiles(rows, columns, self.tile, self.halo))
        for number, tile in enumerate(parts, 1):
            # Of a large picture: what is done with the latent takes memory, too.
            run = self.networks.run_last if 1 < number == len(parts) else self.networks.run_all
            fed = {taken: source(tile.outer)[None], **_said(step), **_parts(beside, tile)}
            for whole, part in zip(given.values(), run(name, tuple(given), **fed), strict=True):
                if part.shape[1] != len(whole):
                    raise BundleError(f"{name} gives {part.shape[1]} channels, its coder codes {len(whole)}")
                whole[:, *tile.core] = part[0][:, *tile.inner]

    def synthesise(
        self,
        name: str,
        given: str,
        needed: NDArray[np.bool_],
        latents: Mapping[str, Fixed],
        step: float | None = None,
        **beside: Features,
    ) -> Parts:
        """Parts of the picture that is `given`: where, and [3, h, w] in 0..1, of the cells [rows, columns] needed.

        The network takes latents, the step if it wants to know it, and what is beside them on the grid of cells. Parts
        may show more than those that are needed, and the last ones reach beyond the picture.
        """
        for tile in tiles_over(needed, self.tile, self.halo):
            fed = {key: in_units(fixed[:, *tile.outer])[None] for key, fixed in latents.items()}
            x = self.networks.run(name, given, **fed, **_said(step), **_parts(beside, tile))[0]
            yield scaled(tile.core, self.stride), x[:, *scaled(tile.inner, self.stride)]

    def source(self, picture: Pixels) -> Source:
        """Of a picture [H, W, 3]."""
        return lambda cells: planes(picture, scaled(cells, self.stride), self.stride)


def _parts(grids: Mapping[str, Features], tile: Tile) -> dict[str, Features]:
    return {name: grid[:, *tile.outer][None] for name, grid in grids.items()}


def _said(step: float | None) -> dict[str, Features]:
    return {} if step is None else {"step": np.array([step], np.float32)}


def planes(picture: Pixels, where: Where, cell: int) -> Features:
    """A part of the picture, of whole cells, as [3, H, W] in 0..1; beyond its right and lower edge, see `widened`."""
    down, across = where
    part = picture[down, across].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    part = widened(part, across.stop - across.start, cell)
    return widened(part.swapaxes(1, 2), down.stop - down.start, cell).swapaxes(1, 2)


def widened(x: Features, width: int, cell: int) -> Features:
    """[3, h, w] made as wide: every `cell` rows go on in the mean colour of what they end in, `cell` columns.

    Repeating the last column would draw its noise out into stripes, which are costly.
    """
    beyond = width - x.shape[2]
    if not beyond:
        return x
    starts = range(0, x.shape[1], cell)
    ends = [x[:, start : start + cell, -cell:].mean((1, 2), keepdims=True) for start in starts]
    flat = [np.broadcast_to(e, (len(x), min(cell, x.shape[1] - s), beyond)) for s, e in zip(starts, ends, strict=True)]
    return np.concatenate([x, np.concatenate(flat, 1)], 2)


def to_pixels(x: Features) -> Pixels:
    """[3, H, W] in 0..1, and beyond where a network overshoots, to uint8 [H, W, 3]."""
    levels = x * np.float32(255)  # and in place from here: a picture has a million values
    np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
    return levels.astype(np.uint8).transpose(1, 2, 0)


def assembled(parts: Parts, width: int, height: int) -> Pixels:
    """A picture [height, width, 3] of all its parts."""
    picture = np.empty((height, width, 3), np.uint8)
    for where, x in parts:
        place = picture[where]
        place[:] = to_pixels(x)[: place.shape[0], : place.shape[1]]
    return picture


def blended(base: Pixels, parts: Parts, regions: Regions) -> Pixels:
    """The base picture [height, width, 3] with what the parts show in these regions, written into it."""
    height, width = base.shape[:2]
    for where, x in parts:
        place = base[where]
        full = x[:, : place.shape[0], : place.shape[1]]
        much = weights(regions, (_upto(where[0], height), _upto(where[1], width)), width, height)
        below = place.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        place[:] = to_pixels(much * full + (np.float32(1) - much) * below)
    return base


def _upto(part: slice, end: int) -> slice:
    return slice(part.start, min(part.stop, end))
