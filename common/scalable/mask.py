"""The layer that refines the base's features until they show which pixels are people and which vehicles.

    features -> mask_analysis.onnx -> ym, zm -> bytes -> ym^ -> mask_lst.onnx -> features^ -> mask_head.onnx -> scores
                                                                              -> context

Each network may see the decoded features of the base layer too, as `beside`. The grid is the base layer's.
"""

from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.bundle import Bundle, PictureLayer
from common.codec.elements import Cells
from common.codec.latent import LatentCoder
from common.codec.window import Window
from common.scalable.latent_features import Features, Fixed, Raised, in_units, mask_of, open_coder, read_arrays
from common.scalable.networks import Networks

Square = TypeVar("Square", NDArray[np.float32], NDArray[np.uint8])


class MaskLayer:
    """Codes features [C, H, W] beside those that the base layer gives."""

    def __init__(self, about: PictureLayer, coder: LatentCoder, networks: Networks) -> None:
        self._prefix, self._coder, self._networks = about.prefix, coder, networks

    @classmethod
    def open(cls, bundle: Bundle, about: PictureLayer, networks: Networks) -> Self:
        """Raises BundleError."""
        coder = open_coder(bundle, about.model_dump(), about.prefix, read_arrays(bundle))
        return cls(about, coder, networks)

    def encode(self, features: Features, base: Fixed, beside: Features, cells: Cells, quality: int) -> bytes:
        """Features, beside the base layer's latent and its features."""
        y, z = self._networks.run_all(
            f"{self._prefix}_analysis.onnx",
            ("y", "z"),
            features=features[None],
            beside=beside[None],
            mask=mask_of([cells], base.shape[1:]),
        )
        return self._coder.encode(y[0], z[0], quality, cells, self._known(base))[0]

    def decode(self, payload: bytes, base: Fixed, beside: Features, cells: Cells) -> Raised:
        """The refined features and their context; BitstreamError unless `encode` writes it."""
        rows, columns = grid = base.shape[1:]
        fixed = self._coder.decode(payload, rows, columns, cells, self._known(base)).fixed
        fed = {"y": in_units(fixed)[None], "beside": beside[None], "mask": mask_of([cells], grid)}
        return Raised(*self._networks.run_all(f"{self._prefix}_lst.onnx", Raised._fields, **fed)).of(0)

    def scores(self, refined: Features, beside: Features) -> Features:
        """Of each class [classes, rows, columns], on the network's square."""
        fed = {"features": refined[None], "beside": beside[None]}
        scores: Features = self._networks.run(f"{self._prefix}_head.onnx", "scores", **fed)[0]
        return scores

    def _known(self, base: Fixed) -> Fixed | None:
        return None if self._coder.context_net is None else self._coder.context_net(base)


def classes(scores: Features, window: Window, width: int, height: int) -> NDArray[np.uint8]:
    """The best class of each pixel [height, width]; scores are of the whole square, the window says where it lies."""
    best = content(scores[0], window, width, height)
    mask = np.zeros(best.shape, np.uint8)
    for number, plane in enumerate(scores[1:], 1):  # one at a time: the picture may be large
        score = content(plane, window, width, height)
        mask[score > best] = number
        np.maximum(best, score, out=best)
    return mask


def content(square: Square, window: Window, width: int, height: int) -> Square:
    """The window's part of a square uint8 [h, w, 3] or float32 [h, w], at the picture's size, bilinearly."""
    rows, columns = square.shape[:2]
    left, right = window.left * columns / window.width, window.right * columns / window.width
    top, bottom = window.top * rows / window.height, window.bottom * rows / window.height
    part = Image.fromarray(square).resize((width, height), Image.Resampling.BILINEAR, (left, top, right, bottom))
    return np.array(part, square.dtype)
