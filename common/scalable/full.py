"""The picture itself, as a latent of a cell for 16x16 pixels, beside what the layers below say of the same place.

    picture -> analysis by tiles -> y -> hyper-analysis -> z -> LatentCoder -> bytes
    bytes -> LatentCoder -> y^ -> synthesis by tiles -> picture^

Without a context it needs nothing but itself: so the clean picture of `common.scalable.denoise` is coded.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, Input, PictureLayer
from common.codec.latent import Decoded
from common.errors import BundleError
from common.geometry import Letterbox
from common.scalable.frame import Frame
from common.scalable.latent_features import Features, Fixed
from common.scalable.lattice import lattice, resample, resample_integers
from common.scalable.networks import Networks
from common.scalable.picture_latent import PictureLatent, Shape
from common.scalable.picture_networks import Parts, PictureNetworks, Pixels, assembled
from common.scalable.regions import Regions


class FullLayer:
    """Codes pictures uint8 [H, W, 3] beside the context [K, h, w] of the layer below."""

    def __init__(self, given: Input, code: PictureLatent) -> None:
        self._input, self.code, self.networks = given, code, code.networks
        self.about = code.about

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks) -> Self:
        """Raises BundleError."""
        return cls(bundle.manifest.input, PictureLatent.open(bundle, about, PictureNetworks(networks, about.stride)))

    def encode(self, picture: Pixels, frame: Frame, quality: int) -> bytes:
        """A picture, beside the base layer's latent and the context of the layer below."""
        shape = self.code.shape(frame.width, frame.height)
        y = shape.blank(self.code.coder.channels)
        self.analysis(picture, quality, self.context(frame, shape), shape.seen(y))
        return self.code.encode(y, shape, quality, self._known(frame, shape))

    def decode(self, frame: Frame, regions: Regions | None) -> Pixels:
        """The same back; BitstreamError unless `encode` writes it."""
        if regions is not None:
            raise ValueError(f"regions: layer {self.about.name!r} has no picture below it")
        found = self.decoded(frame)
        x = self.synthesis(found, self.context(frame, self.code.shape(frame.width, frame.height)))
        return assembled(x, frame.width, frame.height)

    def latent(self, frame: Frame) -> Fixed:
        """The decoded latent, [C, rows, columns] of the cells that see the picture: exact on every machine."""
        return self.decoded(frame).fixed

    def decoded(self, frame: Frame) -> Decoded:
        """The same with the quality that it was coded in."""
        payload, shape = frame.payload(self.about.kind), self.code.shape(frame.width, frame.height)
        return self.code.decode(payload, shape, self._known(frame, shape))

    # ---- what the layers below know

    def context(self, frame: Frame, shape: Shape) -> Features:
        """For the networks: float32 [K, rows, columns]."""
        if not self.about.context:
            return np.zeros((0, *shape.cells), np.float32)
        below = frame.below.next.context
        if len(below) != self.about.context:
            raise BundleError(f"the layer below gives a context of {len(below)} channels, not {self.about.context}")
        box = self._box(frame)
        return resample(below, lattice(box, self._input.width, below.shape[1:], shape.cells, self.about.stride))

    def _known(self, frame: Frame, shape: Shape) -> Fixed | None:
        """For the probabilities: int32 [K, padded rows, padded columns]; None where they are not conditioned."""
        if self.code.coder.context_net is None:
            return None
        below = self.code.coder.context_net(frame.below.latent)
        box, grid = self._box(frame), below.shape[1:]
        return resample_integers(below, lattice(box, self._input.width, grid, shape.padded, self.about.stride))

    def _box(self, frame: Frame) -> Letterbox:
        return self._input.box(frame.width, frame.height)

    def _file(self, name: str) -> str:
        """The name of a network that takes the context which the manifest says. Raises BundleError for another."""
        name = f"{self.about.prefix}_{name}.onnx"
        taken = self.networks.networks.channels(name, "context")
        if taken not in (None, self.about.context):
            raise BundleError(f"{name} takes a context of {taken} channels, the manifest says {self.about.context}")
        return name

    # ---- the networks

    def analysis(self, picture: Pixels, quality: int, context: Features, y: Features) -> None:
        """Fill in y [C, rows, columns] of a picture, context [K, rows, columns]."""
        name, step = self._file("analysis"), self.code.step(quality)
        self.networks.analyse(name, "x", self.networks.source(picture), {"y": y}, step, context=context)

    def synthesis(self, latent: Decoded, context: Features, needed: NDArray[np.bool_] | None = None) -> Parts:
        """Parts of the picture, of all cells [rows, columns] or of those that are needed."""
        name, step = self._file("synthesis"), self.code.step(latent.quality)
        needed = np.ones(latent.fixed.shape[1:], np.bool_) if needed is None else needed
        return self.networks.synthesise(name, "x", needed, {"y": latent.fixed}, step, context=context)
