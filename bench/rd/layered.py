"""The picture layers of bundles as picture codecs, and their parts for whoever times them."""

from collections.abc import Sequence

from bench.networks import placed
from bench.pictures import Picture, thinned
from bench.rivals import Rival
from common import feature_codec
from common.bundle import Bundle
from common.codec import Container, Features, Layer, pack, unpack
from common.codec.window import Window
from common.errors import MidstreamError
from common.layers import CLEAN, FULL, LOW
from common.network.front import Front
from common.scalable import LatentFeatures, PictureLayers
from common.scalable.pictures import Offered

PREVIEW = "preview"
BASE = "base"
RUNGS = 10
"""Of the ladder of a picture layer."""
COMPLETE = FULL, CLEAN
"""Layers that complete a picture of which nothing is noise. A bundle has one of them, or none."""
COUPLED = (LOW,)
"""Layers that are coded at the quality of the one above."""


def own(bundles: Sequence[Bundle]) -> dict[str, Rival]:
    """The codecs of these bundles by name. Raises BundleError if one has no layer above its base."""
    ours: dict[str, Rival] = {}
    for bundle in bundles:
        name = bundle.manifest.name
        ours |= layered(bundle, name if name not in ours else f"{name}@{bundle.digest[:8]}")
    return ours


class Layered:
    """A bundle's layers of a picture, as edge and cloud make and read them, on one thread."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.pictures = PictureLayers.open(bundle, threads=1)
        self.codec = feature_codec.of(bundle)
        self._front = Front(bundle)

    @property
    def whole(self) -> Offered:
        """The layer that completes the picture. Raises MidstreamError if there is none."""
        for layer in self.pictures.layers:
            if layer.name in COMPLETE:
                return layer
        raise MidstreamError(f"{self.bundle!r} has no layer {FULL!r}: it cannot give whole pictures")

    @property
    def upon(self) -> bool:
        """Whether its picture layers need the base layer."""
        return isinstance(self.codec, LatentFeatures)

    def features(self, picture: Picture) -> list[Features]:
        """The cut's tensors."""
        return self._front.run(placed(picture, self.bundle.manifest.input))

    def window(self, picture: Picture) -> Window:
        """What the network sees of it."""
        return self.bundle.manifest.input.window(picture.shape[1], picture.shape[0])

    def base(self, picture: Picture, quality: int | None = None) -> list[Layer]:
        """What travels with every frame."""
        return self.codec.encode(self.features(picture), quality, self.window(picture))

    def below(self, picture: Picture, wanted: Offered, quality: int | None = None) -> list[Layer]:
        """What a layer needs of those below it; of them, those that must be have its quality, others their default."""
        layers = self.base(picture) if self.upon else []
        for layer in self.pictures.layers:
            if layer.kind < wanted.kind:
                same = quality if layer.name in COUPLED else None
                layers.append(self.pictures.encode(layer.name, picture, layers, same))
        return layers

    def all(self, picture: Picture, quality: int | None = None, wanted: Offered | None = None) -> list[Layer]:
        """A layer, by default the one that completes the picture, and every layer that it needs."""
        wanted = wanted or self.whole
        layers = self.below(picture, wanted, quality)
        return [*layers, self.pictures.encode(wanted.name, picture, layers, quality)]

    def packed(self, picture: Picture, layers: list[Layer], quality: int) -> bytes:
        """The container they travel in."""
        height, width = picture.shape[:2]
        return pack(Container(self.bundle.prefix, self.codec.id, quality, width, height, layers))


def layered(bundle: Bundle, name: str) -> dict[str, Rival]:
    """The whole picture, from all the layers it needs, and what there is of less; each where there is one."""
    ours, found = Layered(bundle), {}
    for layer in ours.pictures.layers:
        if layer.name in COMPLETE:
            found[name] = shown(ours, layer)
        if layer.name == LOW:
            found[f"{name}-{BASE}"] = shown(ours, layer)
    if ours.pictures.previews:
        found[f"{name}/{PREVIEW}"] = preview(ours)
    return found


def shown(ours: Layered, layer: Offered) -> Rival:
    """The picture that a layer and those it needs give; the qualities are that layer's."""

    def encode(picture: Picture, quality: int) -> bytes:
        return ours.packed(picture, ours.all(picture, quality, layer), ours.codec.default_quality)

    def decode(data: bytes) -> Picture:
        container = unpack(data)
        return ours.pictures.decode(container.layers, container.width, container.height, layer.name)

    return Rival(encode, decode, len, tuple(thinned(layer.qualities, RUNGS)))


def preview(ours: Layered) -> Rival:
    """The base layer, which is for the detector, looked at."""

    def encode(picture: Picture, quality: int) -> bytes:
        return ours.packed(picture, ours.base(picture, quality), quality)

    def decode(data: bytes) -> Picture:
        container = unpack(data)
        return ours.pictures.preview(container.layers, container.width, container.height)

    return Rival(encode, decode, len, (ours.codec.default_quality,))
