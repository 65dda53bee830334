"""What a frame can give beyond its detections: a preview from the base layer alone, a mask, the picture.

An edge encodes a layer when somebody asks, from the picture it kept and the very layers below that it sent. Whoever
decodes needs the layers up to the one he wants and the picture's size, and looks at no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, PictureLayer
from common.codec.container import Layer, check
from common.errors import BundleError
from common.network.front import Front
from common.payload.picture import place
from common.scalable.full import FullLayer, Pixels, to_pixels
from common.scalable.latent_features import Fixed, LatentFeatures, Raised, checked_quality
from common.scalable.mask import MaskLayer, classes, content
from common.scalable.networks import Networks

MOST_PIXELS = 1 << 24
"""Of a picture: 4096 x 4096. A larger one is neither coded nor decoded."""
PREVIEW = "preview.onnx"


@dataclass(frozen=True, slots=True)
class Offered:
    """A layer that can be asked for."""

    name: str
    kind: int
    """Of the container's layer."""
    qualities: range
    """More is better."""
    default_quality: int


@dataclass(frozen=True, slots=True)
class Below:
    """What the layers below say."""

    latent: Fixed
    """The base layer's."""
    base: Raised
    """What the base layer gives."""
    next: Raised
    """What the layer right below gives: the base, or the mask layer."""


class PictureLayers:
    """The layers above the base of one bundle. May be used from several threads; networks load when first needed."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        manifest = bundle.manifest
        if not manifest.layers or manifest.codec.get("name") != LatentFeatures.name:
            raise BundleError(f"{bundle!r} has no picture layers")
        self._bundle, self._input, self._threads = bundle, manifest.input, threads
        self._networks = Networks(bundle, threads)
        self._base = LatentFeatures.open(bundle, threads, self._networks)
        self._about = {layer.name: layer for layer in manifest.layers}
        self._mask = self._about.get("mask") and MaskLayer.open(bundle, self._about["mask"], self._networks)
        self._full = self._about.get("full") and FullLayer.open(bundle, self._about["full"], self._networks)
        self.layers = tuple(_offered(layer) for layer in manifest.layers)
        """Rising."""

    @classmethod
    def open(cls, bundle: Bundle, threads: int = 1) -> Self:
        """Raises BundleError if the bundle has no picture layers, or its files do not fit."""
        return cls(bundle, threads)

    @property
    def previews(self) -> bool:
        """Whether the base layer alone gives a picture."""
        return self._networks.has(PREVIEW)

    def layer(self, name: str) -> Offered:
        """The layer of this name. Raises ValueError naming those that there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"layer: expected one of {[layer.name for layer in self.layers]}, got {name!r}")

    def encode(self, name: str, picture: Pixels, base: Sequence[Layer], quality: int | None = None) -> Layer:
        """A layer of an upright RGB picture uint8 [H, W, 3]; `base` are the layers below it, as they were sent.

        ValueError for a picture, a layer or a quality that does not fit, BitstreamError for layers that do not.
        """
        layer = self.layer(name)
        quality = checked_quality(quality, layer.qualities, layer.default_quality)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ValueError(f"picture: expected uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")
        height, width = picture.shape[:2]
        if width * height > MOST_PIXELS:
            raise ValueError(f"picture: expected at most {MOST_PIXELS} pixels, got {width}x{height}")
        below = self._below(layer.kind, base, width, height)
        if name == "mask":
            return Layer(layer.kind, self._encode_mask(picture, below, quality))
        assert self._full
        return Layer(layer.kind, self._full.encode(picture, below.latent, below.next.context, quality))

    def decode(self, layers: Sequence[Layer], width: int, height: int) -> Pixels:
        """The picture [height, width, 3], from `full` and all layers below. Raises BitstreamError."""
        layer, payload = self._wanted("full", layers, width, height)
        below = self._below(layer.kind, layers, width, height)
        assert self._full
        return self._full.decode(payload, below.latent, below.next.context, width, height)

    def latent(self, layers: Sequence[Layer], width: int, height: int) -> Fixed:
        """What `decode` makes the picture of: the latent of `full`, in 256ths, the same on every machine."""
        _, payload = self._wanted("full", layers, width, height)
        assert self._full
        return self._full.latent(payload, self._base.latent(layers, self._input.window(width, height)), width, height)

    def preview(self, layers: Sequence[Layer], width: int, height: int) -> Pixels:
        """What the base layer alone shows, blurred, at the picture's size [height, width, 3]. Raises BitstreamError."""
        below = self._below(1, layers, width, height)
        fed = {"features": below.base.features[None], "context": below.base.context[None]}
        (x,) = self._networks.run(PREVIEW, "x", **fed)
        square = np.ascontiguousarray(to_pixels(x))
        return content(square, self._input.window(width, height), width, height)

    def mask(self, layers: Sequence[Layer], width: int, height: int) -> NDArray[np.uint8]:
        """Classes [height, width]: 0 background, 1 person, 2 vehicle. Raises BitstreamError."""
        layer, _ = self._wanted("mask", layers, width, height)
        below = self._below(layer.kind + 1, layers, width, height)
        assert self._mask
        scores = self._mask.scores(below.next.features, below.base.features)
        return classes(scores, self._input.window(width, height), width, height)

    # ---- parts

    def _wanted(self, name: str, layers: Sequence[Layer], width: int, height: int) -> tuple[Offered, bytes]:
        layer = self.layer(name)
        _check_size(width, height)
        return layer, _payload(layers, layer.kind)

    def _below(self, kind: int, layers: Sequence[Layer], width: int, height: int) -> Below:
        """What the layers of lower kinds than this one say."""
        _check_size(width, height)
        window = self._input.window(width, height)
        latent = self._base.latent(layers, window)
        cells = self._base.cells(window)
        base = self._base.raised([latent], [cells]).of(0)
        if not self._mask or self._about["mask"].kind >= kind:
            return Below(latent, base, base)
        payload = _payload(layers, self._about["mask"].kind)
        return Below(latent, base, self._mask.decode(payload, latent, base.features, cells))

    def _encode_mask(self, picture: Pixels, below: Below, quality: int) -> bytes:
        assert self._mask
        height, width = picture.shape[:2]
        box = self._input.box(width, height)
        (features,) = self._front.run(place(picture, box, self._input.width, self._input.pad))
        cells = self._base.cells(self._input.window(width, height))
        return self._mask.encode(features, below.latent, below.base.features, cells, quality)

    @cached_property
    def _front(self) -> Front:
        """A session of its own beside the edge's: through that one, masks would run on the frames' threads, at their
        priority. front.onnx is in memory twice from the first mask on.
        """
        return Front(self._bundle, self._threads)


def _offered(layer: PictureLayer) -> Offered:
    lowest, highest = layer.qualities
    return Offered(layer.name, layer.kind, range(lowest, highest + 1), layer.default_quality)


def _payload(layers: Sequence[Layer], kind: int) -> bytes:
    there = {int(layer.kind): layer.payload for layer in layers}
    check(kind in there, "layers", f"one of kind {kind}", sorted(there))
    return there[kind]


def _check_size(width: int, height: int) -> None:
    check(width > 0 and height > 0, "picture", "a positive size", f"{width}x{height}")
    check(width * height <= MOST_PIXELS, "picture", f"at most {MOST_PIXELS} pixels", f"{width}x{height}")
