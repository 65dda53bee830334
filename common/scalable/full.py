"""The picture itself, as a latent of a cell for 16x16 pixels, beside what the layers below say of the same place.

    picture -> analysis by tiles -> y -> hyper-analysis -> z -> LatentCoder -> bytes
    bytes -> LatentCoder -> y^ -> synthesis by tiles -> picture^

Only cells that see the picture are coded. The picture is continued by its edge to whole cells, the latent to whole
cells of z; nobody but the encoder sees that.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, Input, PictureLayer
from common.codec.elements import Cells
from common.codec.latent import LatentCoder
from common.errors import BundleError
from common.geometry import Letterbox
from common.scalable.latent_features import Features, Fixed, in_units, open_coder, read_arrays
from common.scalable.lattice import lattice, resample, resample_integers
from common.scalable.networks import Networks
from common.scalable.tiles import scaled, tiles

Pixels = NDArray[np.uint8]

TILE = 48
"""Cells in a tile, each way: 768 pixels."""
HALO = 4
"""Cells around it. The networks look 60 pixels far."""
HYPER_HALO = 1
"""Cells of z; the hyper-analysis looks one cell of y far."""


class Shape(NamedTuple):
    """Of the latent: the cells that see the picture, and with those that make the hyper-latent's cells whole."""

    rows: int
    columns: int
    padded_rows: int
    padded_columns: int


class FullLayer:
    """Codes pictures uint8 [H, W, 3] beside the context [K, h, w] of the layer below."""

    def __init__(self, about: PictureLayer, given: Input, coder: LatentCoder, networks: Networks) -> None:
        pad = about.stride << coder.halvings
        if about.pad != pad:
            raise BundleError(f"layer {about.name!r}: expected pad {pad}, got {about.pad}")
        self._about, self._input, self._coder, self._networks = about, given, coder, networks
        self.tile, self.halo = TILE, HALO

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks) -> Self:
        """Raises BundleError."""
        coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
        return cls(about, bundle.manifest.input, coder, networks)

    def shape(self, width: int, height: int) -> Shape:
        """Of the latent of a picture."""
        stride, fold = self._about.stride, 1 << self._coder.halvings
        rows, columns = -(-height // stride), -(-width // stride)
        return Shape(rows, columns, -(-rows // fold) * fold, -(-columns // fold) * fold)

    def encode(self, picture: Pixels, base: Fixed, context: Features, quality: int) -> bytes:
        """A picture, beside the base layer's latent and the context of the layer below."""
        height, width = picture.shape[:2]
        shape, box = self.shape(width, height), self._input.box(width, height)
        y = self.analysis(picture, self._context(context, box, shape))
        beyond = (0, 0), (0, shape.padded_rows - shape.rows), (0, shape.padded_columns - shape.columns)
        y = np.pad(y, beyond, "edge")
        return self._coder.encode(y, self.hyper_analysis(y), quality, _cells(shape), self._known(base, box, shape))[0]

    def decode(self, payload: bytes, base: Fixed, context: Features, width: int, height: int) -> Pixels:
        """The same back; BitstreamError unless `encode` writes it."""
        shape, box = self.shape(width, height), self._input.box(width, height)
        fixed = self.latent(payload, base, width, height)
        picture = np.empty((height, width, 3), np.uint8)
        for where, x in self.synthesis(fixed, self._context(context, box, shape)):
            place, pixels = picture[where], to_pixels(x)
            place[:] = pixels[: place.shape[0], : place.shape[1]]
        return picture

    def latent(self, payload: bytes, base: Fixed, width: int, height: int) -> Fixed:
        """The decoded latent, [C, rows, columns] of the cells that see the picture: exact on every machine."""
        shape = self.shape(width, height)
        known = self._known(base, self._input.box(width, height), shape)
        size = shape.padded_rows, shape.padded_columns
        fixed = self._coder.decode(payload, *size, _cells(shape), known).fixed
        return fixed[:, : shape.rows, : shape.columns]

    # ---- what the layers below know

    def _context(self, below: Features, box: Letterbox, shape: Shape) -> Features:
        """For the networks: float32 [K, rows, columns]."""
        if not self._about.context:
            return np.zeros((0, shape.rows, shape.columns), np.float32)
        if len(below) != self._about.context:
            raise BundleError(f"the layer below gives a context of {len(below)} channels, not {self._about.context}")
        grid, cells = below.shape[1:], (shape.rows, shape.columns)
        return resample(below, lattice(box, self._input.width, grid, cells, self._about.stride))

    def _known(self, base: Fixed, box: Letterbox, shape: Shape) -> Fixed | None:
        """For the probabilities: int32 [K, padded rows, padded columns]; None where they are not conditioned."""
        if self._coder.context_net is None:
            return None
        below = self._coder.context_net(base)
        grid, cells = below.shape[1:], (shape.padded_rows, shape.padded_columns)
        return resample_integers(below, lattice(box, self._input.width, grid, cells, self._about.stride))

    def _told(self, name: str) -> str:
        """The name of a network that takes the context which the manifest says. Raises BundleError for another."""
        taken = self._networks.channels(name, "context")
        if taken not in (None, self._about.context):
            raise BundleError(f"{name} takes a context of {taken} channels, the manifest says {self._about.context}")
        return name

    # ---- the networks, by tiles

    def analysis(self, picture: Pixels, context: Features) -> Features:
        """Y [C, rows, columns] of a picture, context [K, rows, columns]."""
        rows, columns = context.shape[1], context.shape[2]
        y = np.empty((self._coder.channels, rows, columns), np.float32)
        name = self._told(f"{self._about.prefix}_analysis.onnx")
        for tile in tiles(rows, columns, self.tile, self.halo):
            x = _planes(picture, scaled(tile.outer, self._about.stride))
            part = self._networks.run(name, "y", x=x[None], context=context[:, *tile.outer][None])[0]
            y[:, *tile.core] = part[:, *tile.inner]
        return y

    def hyper_analysis(self, y: Features) -> Features:
        """Z of y, of whole cells of z."""
        fold = 1 << self._coder.halvings
        rows, columns = y.shape[1] // fold, y.shape[2] // fold
        z = np.empty((self._coder.hyper, rows, columns), np.float32)
        for tile in tiles(rows, columns, max(1, self.tile // fold), HYPER_HALO):
            outer = scaled(tile.outer, fold)
            part = self._networks.run(f"{self._about.prefix}_hyper.onnx", "z", y=y[:, *outer][None])[0]
            z[:, *tile.core] = part[:, *tile.inner]
        return z

    def synthesis(self, fixed: Fixed, context: Features) -> Iterator[tuple[tuple[slice, slice], Features]]:
        """Parts of the picture: where in it, and [3, h, w] in 0..1. The last ones reach beyond it."""
        name = self._told(f"{self._about.prefix}_synthesis.onnx")
        for tile in tiles(fixed.shape[1], fixed.shape[2], self.tile, self.halo):
            y = in_units(fixed[:, *tile.outer])
            x = self._networks.run(name, "x", y=y[None], context=context[:, *tile.outer][None])[0]
            yield scaled(tile.core, self._about.stride), x[:, *scaled(tile.inner, self._about.stride)]


def to_pixels(x: Features) -> Pixels:
    """[3, H, W] in 0..1, and beyond where a network overshoots, to uint8 [H, W, 3]."""
    levels = x * np.float32(255)  # and in place from here: a picture has a million values
    np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
    return levels.astype(np.uint8).transpose(1, 2, 0)


def _planes(picture: Pixels, where: tuple[slice, slice]) -> Features:
    """A part of the picture as [3, H, W] in 0..1; beyond its right and lower edge, the edge goes on."""
    down, across = where
    part = picture[down, across]
    beyond = down.stop - down.start - part.shape[0], across.stop - across.start - part.shape[1]
    part = np.pad(part, ((0, beyond[0]), (0, beyond[1]), (0, 0)), "edge")
    return part.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def _cells(shape: Shape) -> Cells:
    return Cells(0, 0, shape.rows, shape.columns)
