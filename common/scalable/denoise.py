"""The picture without its noise, and above it the noise: what a detector needs is often in the first alone.

    picture ----------------------> clean (a `FullLayer` without context) -> clean^
    picture - clean^ = residual --> noisy -> residual^;    noisy picture = clean^ + residual^

Clean^ is taken as the synthesis gives it, before it is rounded to pixels.
"""

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, PictureLayer
from common.codec.latent import Decoded
from common.scalable.frame import Frame
from common.scalable.full import FullLayer
from common.scalable.latent_features import Features, Fixed
from common.scalable.networks import Networks
from common.scalable.picture_latent import PictureLatent
from common.scalable.picture_networks import HALO, TILE, Parts, PictureNetworks, Pixels, Source, assembled, blended
from common.scalable.regions import Regions, Where, touched
from common.scalable.tiles import scaled


class NoisyLayer:
    """What is noisy in a picture, above its clean layer."""

    def __init__(self, code: PictureLatent, clean: FullLayer) -> None:
        self.code, self.clean, self.about, self.networks = code, clean, code.about, code.networks
        self._residuals = PictureNetworks(code.networks.networks, code.about.stride)
        self._residuals.tile = TILE - 2 * HALO  # so that the clean picture of a tile and its halo is one tile

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks, below: PictureLayer) -> Self:
        """Above the layer `below`. Raises BundleError."""
        code = PictureLatent.open(bundle, about, PictureNetworks(networks, about.stride))
        return cls(code, FullLayer.open(bundle, below, networks))

    def encode(self, picture: Pixels, frame: Frame, quality: int) -> bytes:
        """What the frame's clean layer does not show of the picture."""
        shape = self.code.shape(frame.width, frame.height)
        source = self._residual(picture, self.clean.decoded(frame))
        y = shape.blank(self.code.coder.channels)
        self._residuals.analyse(f"{self.about.prefix}_analysis.onnx", "r", source, {"y": shape.seen(y)})
        return self.code.encode(y, shape, quality)

    def latent(self, frame: Frame) -> Fixed:
        """Of the residual, [C, rows, columns] of the cells that see the picture. Raises BitstreamError."""
        return self.code.decode(frame.payload(self.about.kind), self.code.shape(frame.width, frame.height)).fixed

    def decode(self, frame: Frame, regions: Regions | None) -> Pixels:
        """The noisy picture, or outside the regions the clean one."""
        residual, clean = self.latent(frame), self.clean.decoded(frame)
        grid = residual.shape[1:]
        if regions is None:
            parts = self._shown(clean, residual, np.ones(grid, np.bool_))
            return assembled(parts, frame.width, frame.height)
        parts = self._shown(clean, residual, touched(regions, self.about.stride, *grid))
        return blended(self.clean.decode(frame, None), parts, regions)

    # ---- parts

    def _shown(self, clean: Decoded, residual: Fixed, needed: NDArray[np.bool_]) -> Parts:
        """Of the noisy picture, where cells are needed: both networks make the same parts."""
        name = f"{self.about.prefix}_synthesis.onnx"
        residuals = self.networks.synthesise(name, "r", needed, {"y": residual})
        for (where, x), (_, r) in zip(self._cleaned(clean, needed), residuals, strict=True):
            yield where, x + r

    def _cleaned(self, clean: Decoded, needed: NDArray[np.bool_]) -> Iterator[tuple[Where, Features]]:
        return self.clean.synthesis(clean, np.zeros((0, *needed.shape), np.float32), needed)

    def _residual(self, picture: Pixels, clean: Decoded) -> Source:
        """The picture less the clean one; both are made for the cells that are asked for, so neither is ever whole."""
        pictured = self.networks.source(picture)

        def source(cells: Where) -> Features:
            needed = np.zeros(clean.fixed.shape[1:], np.bool_)
            needed[cells] = True
            found, (top, left) = pictured(cells), (axis.start for axis in scaled(cells, self.about.stride))
            for (down, across), x in self._cleaned(clean, needed):
                found[:, down.start - top : down.stop - top, across.start - left : across.stop - left] -= x
            return found

        return source
