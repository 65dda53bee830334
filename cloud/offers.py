"""What can be had of a frame beyond its detections: pictures made of its coded layers, and the picture it was made of.

The base layer travels with every frame. Those above it, and the original, stay at the edge until somebody asks.
"""

from dataclasses import dataclass
from functools import lru_cache

from cloud.frame import Result
from common import layers as layer_names
from common.bundle import Bundle, PictureLayer
from common.codec import CODECS, Layer
from common.codec.container import Kind
from common.layers import BASE, ORIGINAL
from common.scalable import LatentFeatures
from common.scalable.pictures import PREVIEW, most_pixels


@dataclass(frozen=True, slots=True)
class Offer:
    """A layer by its own name. `kinds`: the container's layers that it is made of, rising, its own the last; of the
    original none. `qualities`: the lowest and the highest it can be asked in; None where there is no choice.
    `default_quality`: the least that is shown to who names none. `tiled`: parts of it can be had alone; it is then of
    the quality of those below it.
    """

    name: str
    kinds: tuple[int, ...] = ()
    qualities: tuple[int, int] | None = None
    default_quality: int = 0
    tiled: bool = False

    def suits(self, pixels: int) -> bool:
        """Whether a frame of so many is not too large for it."""
        return not self.kinds or pixels <= most_pixels(self.name)


Offers = dict[str, Offer]
"""By every name that an offer may be asked for by: its own, or one that means it."""
_ORIGINAL = Offer(ORIGINAL)


def offers(bundle: Bundle | None, codec: str) -> Offers:
    """What there is of a frame that travelled by this codec, by name. Of a bundle that is not held, the original."""
    if bundle is None or not _layered(bundle, codec):
        return {ORIGINAL: _ORIGINAL}
    return _of_bundle(bundle)


def coded_layers(result: Result) -> list[Layer]:
    """Those layers of a frame that pictures can be made of, without other frames. Others it may carry are nobody's
    business here.
    """
    there = offers(result.frame.bundle, result.origin.codec)
    kinds = {kind for offer in there.values() for kind in offer.kinds}
    came = [layer for layer in result.frame.container.layers if layer.kind in kinds]
    return [result.standing if result.standing and layer.kind == Kind.BASE else layer for layer in came]


def codec_id(bundle: Bundle) -> int:
    """Of the containers that this bundle's layers travel in."""
    return LatentFeatures.id if _upon_features(bundle) else CODECS[str(bundle.manifest.codec["name"])].id


def _layered(bundle: Bundle, codec: str) -> bool:
    """Whether this codec's layers are pictures: a frame may also have travelled as detections, or as a JPEG."""
    return bool(bundle.manifest.layers) and bundle.manifest.codec.get("name") == codec


def _upon_features(bundle: Bundle) -> bool:
    """Whether the layers are coded upon the base layer, which then is a learned one."""
    return bundle.manifest.codec.get("name") == LatentFeatures.name


@lru_cache(maxsize=64)
def _of_bundle(bundle: Bundle) -> Offers:
    base = [Offer(BASE, (Kind.BASE,))] if PREVIEW in bundle.manifest.files else []
    above = [_of_layer(layer, bundle) for layer in bundle.manifest.layers]
    own = {offer.name: offer for offer in (*base, *above, _ORIGINAL)}
    found = {name: own.get(layer_names.meant(name, own)) for name in layer_names.NAMES}
    return {name: offer for name, offer in found.items() if offer}


def _of_layer(layer: PictureLayer, bundle: Bundle) -> Offer:
    below = (Kind.BASE,) if _upon_features(bundle) else ()
    kinds = (*below, *(other.kind for other in bundle.manifest.layers if other.kind <= layer.kind))
    return Offer(layer.name, kinds, layer.qualities, layer.default_quality, layer.tile > 0)
