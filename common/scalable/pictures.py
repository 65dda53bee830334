"""What a frame can give beyond its detections: a preview from the base layer alone, a mask, the picture.

An edge encodes a layer when somebody asks, from the picture it kept and the very layers below that it sent. Whoever
decodes needs the layers up to the one he wants and the picture's size, and looks at no other. A layer in tiles can be
cut to those that show some regions, and put together again; any other is as one tile, which is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, PictureLayer
from common.codec.container import Layer, check
from common.codec.latent import quality_of
from common.errors import BundleError
from common.layers import CLEAN, FULL, LOW, MASK, NOISY, meant
from common.network.front import Front
from common.payload.picture import place
from common.scalable.denoise import NoisyLayer
from common.scalable.frame import Below, Frame, PixelLayer
from common.scalable.frequency import HighLayer
from common.scalable.full import FullLayer
from common.scalable.latent_features import Fixed, LatentFeatures, checked_quality
from common.scalable.mask import MaskLayer, classes, content
from common.scalable.networks import Networks
from common.scalable.picture_networks import Pixels, to_pixels
from common.scalable.regions import Regions, check_regions

MOST_PIXELS = 1 << 24
"""Of a picture: 4096 x 4096. A larger one is neither coded nor decoded."""
MOST_NOISY = 1 << 22
"""Of one whose noise is coded: 2048 x 2048. Noise has four times as many channels as a picture, and as many bytes."""
PREVIEW = "preview.onnx"


def most_pixels(name: str) -> int:
    """Of a picture that the layer of this name can be had of."""
    return MOST_NOISY if name == NOISY else MOST_PIXELS


@dataclass(frozen=True, slots=True)
class Offered:
    """A layer that can be asked for."""

    name: str
    kind: int
    """Of the container's layer."""
    qualities: range
    """More is better."""
    default_quality: int
    tiled: bool
    """Whether it is in tiles, and regions of it can be had alone."""


class PictureLayers:
    """The layers above the base of one bundle. May be used from several threads; networks load when first needed."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        manifest = bundle.manifest
        if not manifest.layers:
            raise BundleError(f"{bundle!r} has no picture layers")
        self._bundle, self._input, self._threads = bundle, manifest.input, threads
        self._networks = Networks(bundle, threads)
        latent = manifest.codec.get("name") == LatentFeatures.name
        self._base = LatentFeatures.open(bundle, threads, self._networks) if latent else None
        self._about: dict[str, PictureLayer] = {layer.name: layer for layer in manifest.layers}
        self._mask = MaskLayer.open(bundle, self._about[MASK], self._networks) if MASK in self._about else None
        self._pixels = _pixel_layers(bundle, self._networks)
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
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ValueError(f"picture: expected uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")
        height, width = picture.shape[:2]
        if width * height > (most := most_pixels(name)):
            raise ValueError(f"picture: expected at most {most} pixels, got {width}x{height}")
        frame = self._frame(layer.kind, base, width, height)
        if quality is None and layer.tiled:
            quality = quality_of(frame.payload(self._about[LOW].kind))
        quality = checked_quality(quality, layer.qualities, layer.default_quality)
        if name == MASK:
            return Layer(layer.kind, self._encode_mask(picture, frame.below, quality))
        return Layer(layer.kind, self._pixels[name].encode(picture, frame, quality))

    def decode(
        self, layers: Sequence[Layer], width: int, height: int, name: str = FULL, regions: Regions | None = None
    ) -> Pixels:
        """The picture [height, width, 3], from the layer of this name and all below; of FULL and BASE see `meant`.

        Tiles that are missing or damaged show the base picture, and so does what is outside the regions. Raises
        BitstreamError for a damaged layer or a damaged list of tiles, ValueError for a layer that is none of pixels or
        has no picture below it, and for regions that are not in the picture.
        """
        layer, frame = self._wanted(name, layers, width, height)
        check_regions(regions, width, height)
        return self._pixels[layer.name].decode(frame, regions)

    def latent(self, layers: Sequence[Layer], width: int, height: int, name: str = FULL) -> Fixed:
        """What `decode` makes the picture of: the latent of a layer, in 256ths, the same on every machine."""
        layer, frame = self._wanted(name, layers, width, height)
        return self._pixels[layer.name].latent(frame)

    # ---- tiles

    def tiles(self, layer: Layer, width: int, height: int, *, sound: bool = False) -> NDArray[np.bool_]:
        """Which tiles [rows, columns] a layer has, or only those that pass their check.

        Raises BitstreamError, as all of these do.
        """
        if (tiled := self._tiled(layer)) is None:
            return np.ones((1, 1), np.bool_)
        grid, tiles = tiled.grid(width, height), tiled.tiles(layer.payload, width, height)
        there = np.zeros(grid.count, np.bool_)
        there[[number for number in tiles.tiles if not sound or tiles.sound(number)]] = True
        return there.reshape(grid.down, grid.across)

    def cut(self, layer: Layer, regions: Regions | None, width: int, height: int) -> Layer:
        """The layer with no tiles but those that regions touch when they are MARGIN pixels larger; with None, all."""
        check_regions(regions, width, height)
        if (tiled := self._tiled(layer)) is None:
            return layer
        wanted = tiled.wanted(regions, width, height)
        return replace(layer, payload=tiled.tiles(layer.payload, width, height).only(wanted).pack())

    def join(self, first: Layer, second: Layer, width: int, height: int) -> Layer:
        """A layer with the tiles of both, a damaged one giving way to a sound one; ValueError for other qualities."""
        if (tiled := self._tiled(first)) is None:
            return first
        one, other = (tiled.tiles(layer.payload, width, height) for layer in (first, second))
        return replace(first, payload=one.joined(other).pack())

    def _tiled(self, layer: Layer) -> HighLayer | None:
        known = self._pixels.get(FULL)
        return known if isinstance(known, HighLayer) and known.about.kind == layer.kind else None

    # ---- what needs the base layer's features

    def preview(self, layers: Sequence[Layer], width: int, height: int) -> Pixels:
        """What the base layer alone shows, blurred, at the picture's size [height, width, 3]. Raises BitstreamError."""
        below = self._frame(1, layers, width, height).below
        fed = {"features": below.base.features[None], "context": below.base.context[None]}
        (x,) = self._networks.run(PREVIEW, "x", **fed)
        square = np.ascontiguousarray(to_pixels(x))
        return content(square, self._input.window(width, height), width, height)

    def mask(self, layers: Sequence[Layer], width: int, height: int) -> NDArray[np.uint8]:
        """Classes [height, width]: 0 background, 1 person, 2 vehicle. Raises BitstreamError."""
        layer = self.layer(MASK)
        self._frame(layer.kind, layers, width, height).payload(layer.kind)
        below = self._frame(layer.kind + 1, layers, width, height).below
        assert self._mask
        scores = self._mask.scores(below.next.features, below.base.features)
        return classes(scores, self._input.window(width, height), width, height)

    # ---- parts

    def _wanted(self, name: str, layers: Sequence[Layer], width: int, height: int) -> tuple[Offered, Frame]:
        """A layer of pixels, which the frame has."""
        layer = self.layer(meant(name, self._about))
        if layer.name not in self._pixels:
            raise ValueError(f"layer: expected one of {list(self._pixels)}, got {name!r}")
        _check_size(width, height, most_pixels(layer.name))
        frame = self._frame(layer.kind, layers, width, height)
        frame.payload(layer.kind)
        return layer, frame

    def _frame(self, kind: int, layers: Sequence[Layer], width: int, height: int) -> Frame:
        """To look at its layers up to this kind."""
        _check_size(width, height)
        frame = Frame(layers, width, height, lambda: self._below(kind, layers, frame))
        return frame

    def _below(self, kind: int, layers: Sequence[Layer], frame: Frame) -> Below:
        """What the layers of lower kinds than this one say."""
        if self._base is None:
            raise BundleError(f"{self._bundle!r} has no base layer that says anything to those above")
        window = self._input.window(frame.width, frame.height)
        latent = self._base.latent(layers, window)
        cells = self._base.cells(window)
        base = self._base.raised([latent], [cells]).of(0)
        if not self._mask or self._about[MASK].kind >= kind:
            return Below(latent, base, base)
        payload = frame.payload(self._about[MASK].kind)
        return Below(latent, base, self._mask.decode(payload, latent, base.features, cells))

    def _encode_mask(self, picture: Pixels, below: Below, quality: int) -> bytes:
        assert self._mask and self._base
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
    return Offered(layer.name, layer.kind, range(lowest, highest + 1), layer.default_quality, layer.tile > 0)


def _pixel_layers(bundle: Bundle, networks: Networks) -> dict[str, PixelLayer]:
    """Those that the bundle has, by name. Raises BundleError."""
    about: dict[str, PictureLayer] = {layer.name: layer for layer in bundle.manifest.layers}
    if list(about) == [LOW, FULL]:
        high = HighLayer.open(bundle, about[FULL], networks, about[LOW])
        return {LOW: high.low, FULL: high}
    if list(about) == [CLEAN, NOISY]:
        noisy = NoisyLayer.open(bundle, about[NOISY], networks, about[CLEAN])
        return {CLEAN: noisy.clean, NOISY: noisy}
    return {name: FullLayer.open(bundle, about[name], networks) for name in (FULL, CLEAN) if name in about}


def _check_size(width: int, height: int, most: int = MOST_PIXELS) -> None:
    check(width > 0 and height > 0, "picture", "a positive size", f"{width}x{height}")
    check(width * height <= most, "picture", f"at most {most} pixels", f"{width}x{height}")
