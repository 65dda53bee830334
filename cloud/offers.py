"""What can be had of a frame beyond its detections: pictures made of its coded layers, and the picture it was made of.

The base layer travels with every frame. Those above it, and the original, stay at the edge until somebody asks.
"""

from dataclasses import dataclass
from functools import lru_cache

from cloud.frame import Result
from common.bundle import Bundle, PictureLayer
from common.codec import Layer
from common.codec.container import Kind
from common.scalable.pictures import PREVIEW

BASE = "base"
FULL = "full"
MASK = "mask"
ORIGINAL = "original"
NAMES = (BASE, FULL, MASK, ORIGINAL)


@dataclass(frozen=True, slots=True)
class Offer:
    """A layer by its name. `kinds`: the container's layers that it is made of, rising, its own the last; of the
    original none. `qualities`: the lowest and the highest it can be asked in; None where there is no choice.
    """

    name: str
    kinds: tuple[int, ...] = ()
    qualities: tuple[int, int] | None = None
    default_quality: int = 0


Offers = dict[str, Offer]
_ORIGINAL = Offer(ORIGINAL)


def offers(bundle: Bundle | None, codec: str) -> Offers:
    """What there is of a frame that travelled by this codec, by name. Of a bundle that is not held, the original."""
    if bundle is None or not _layered(bundle, codec):
        return {ORIGINAL: _ORIGINAL}
    return _of_bundle(bundle)


def coded_layers(result: Result) -> list[Layer]:
    """Those layers of a frame that pictures can be made of. Others it may carry are nobody's business here."""
    frame = result.frame
    if not _layered(frame.bundle, result.origin.codec):
        return []
    kinds = _kinds(frame.bundle)
    return [layer for layer in frame.container.layers if layer.kind in kinds]


def _layered(bundle: Bundle, codec: str) -> bool:
    """Whether this codec's layers are pictures: a frame may also have travelled as detections, or as a JPEG."""
    return bool(bundle.manifest.layers) and bundle.manifest.codec.get("name") == codec


def _kinds(bundle: Bundle) -> set[int]:
    return {Kind.BASE, *(layer.kind for layer in bundle.manifest.layers)}


@lru_cache(maxsize=64)
def _of_bundle(bundle: Bundle) -> Offers:
    base = [Offer(BASE, (Kind.BASE,))] if PREVIEW in bundle.manifest.files else []
    above = [_of_layer(layer, bundle.manifest.layers) for layer in bundle.manifest.layers]
    return {offer.name: offer for offer in (*base, *above, _ORIGINAL)}


def _of_layer(layer: PictureLayer, layers: tuple[PictureLayer, ...]) -> Offer:
    kinds = (Kind.BASE, *(other.kind for other in layers if other.kind <= layer.kind))
    return Offer(layer.name, kinds, layer.qualities, layer.default_quality)
