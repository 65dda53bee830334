"""The latent of a picture, as one stream: y and what its hyper-analysis makes of it to bytes, and back.

Only cells that see the picture are coded. The latent is continued by its edge to whole cells of z; nobody but the
encoder sees that.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, PictureLayer
from common.codec.elements import Cells
from common.codec.latent import Decoded, LatentCoder
from common.errors import BundleError
from common.scalable.latent_features import Features, Fixed, open_coder, read_arrays
from common.scalable.picture_networks import TILE, PictureNetworks
from common.scalable.tiles import scaled, tiles

HYPER_HALO = 1
"""Cells of z; the hyper-analysis looks one cell of y far."""


class Shape(NamedTuple):
    """Of the latent: the cells that see the picture, and with those that make the hyper-latent's cells whole."""

    rows: int
    columns: int
    padded_rows: int
    padded_columns: int

    @property
    def coded(self) -> Cells:
        """Those that see the picture."""
        return Cells(0, 0, self.rows, self.columns)

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of them."""
        return self.rows, self.columns

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of all."""
        return self.padded_rows, self.padded_columns

    def blank(self, channels: int) -> Features:
        """For a latent of all cells, to be filled in. A large picture's is never copied, which would take memory."""
        return np.empty((channels, *self.padded), np.float32)

    def seen(self, grid: NDArray[Any]) -> NDArray[Any]:
        """Of all cells [C, padded rows, padded columns], a view of those that see the picture."""
        return grid[:, : self.rows, : self.columns]

    def carry_on(self, grid: NDArray[Any]) -> None:
        """Fill in the other ones: the edge goes on."""
        grid[:, : self.rows, self.columns :] = grid[:, : self.rows, self.columns - 1 : self.columns]
        grid[:, self.rows :] = grid[:, self.rows - 1 : self.rows]


class PictureLatent:
    """Codes y [C, rows, columns] of the layer `about`."""

    def __init__(self, about: PictureLayer, coder: LatentCoder, networks: PictureNetworks) -> None:
        pad = about.stride << coder.halvings
        if about.pad != pad:
            raise BundleError(f"layer {about.name!r}: expected pad {pad}, got {about.pad}")
        self.about, self.coder, self.networks = about, coder, networks

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: PictureNetworks) -> Self:
        """Raises BundleError."""
        coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
        return cls(about, coder, networks)

    def shape(self, width: int, height: int) -> Shape:
        """Of the latent of a picture."""
        stride, fold = self.about.stride, 1 << self.coder.halvings
        rows, columns = -(-height // stride), -(-width // stride)
        return Shape(rows, columns, -(-rows // fold) * fold, -(-columns // fold) * fold)

    def step(self, quality: int) -> float:
        """What y is divided by, as networks are told of it."""
        return float(2.0 ** ((self.coder.unit - quality) / 64))

    def encode(self, y: Features, shape: Shape, quality: int, known: Fixed | None = None) -> bytes:
        """Y of all cells, filled in where they see the picture; `known` int32, of all cells, conditions its rows."""
        shape.carry_on(y)
        return self.coder.payload(y, self.hyper_analysis(y), quality, shape.coded, known)

    def decode(self, payload: bytes, shape: Shape, known: Fixed | None = None) -> Decoded:
        """The same cells back, exact on every machine; BitstreamError unless `encode` writes it."""
        found = self.coder.decode(payload, *shape.padded, shape.coded, known)
        return found._replace(fixed=shape.seen(found.fixed))

    def hyper_analysis(self, y: Features) -> Features:
        """Z of y, of whole cells of z."""
        fold, name = 1 << self.coder.halvings, f"{self.about.prefix}_hyper.onnx"
        rows, columns = y.shape[1] // fold, y.shape[2] // fold
        z = np.empty((self.coder.hyper, rows, columns), np.float32)
        for tile in tiles(rows, columns, max(1, TILE // fold), HYPER_HALO):
            part = self.networks.networks.run(name, "z", y=y[:, *scaled(tile.outer, fold)][None])[0]
            z[:, *tile.core] = part[:, *tile.inner]
        return z
