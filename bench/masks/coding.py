"""Masks of a picture with what is known of it: its uncoded features, its base layer, its base and mask layers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.masks.labels import Mask
from bench.pictures import Picture, thinned
from bench.rd.layered import Layered
from common.bundle import Bundle
from common.codec import Features, Layer, unpack
from common.errors import MidstreamError
from common.scalable.mask import classes
from common.scalable.networks import Networks

MASK = "mask"
UNCODED, BASE, BOTH = "uncoded features", "base", "base + mask"
RUNGS = 6
"""Qualities of the mask layer."""


class Way(NamedTuple):
    """What a mask is made of; qualities are None where there is no such layer."""

    name: str
    base: int | None
    mask: int | None


class Shown(NamedTuple):
    """A mask, and the bytes that had to travel for it; None for features that did not."""

    way: Way
    bytes: int | None
    mask: Mask


class Masks:
    """A bundle's mask layer, as edge and cloud make and read it, on one thread."""

    def __init__(self, bundle: Bundle) -> None:
        """Raise BundleError or MidstreamError for a bundle without a mask layer."""
        self._ours = Layered(bundle)
        about = [layer for layer in bundle.manifest.layers if layer.name == MASK]
        if not about:
            raise MidstreamError(f"{bundle!r} has no layer {MASK!r}: `bench masks` needs one that has")
        self._head, self._networks = f"{about[0].prefix}_head.onnx", Networks(bundle, 1)
        self.base, self.layer = self._ours.codec, self._ours.pictures.layer(MASK)

    def ladders(self, base: Sequence[int] | None, mask: Sequence[int] | None) -> tuple[list[int], list[int]]:
        """The qualities of both layers to measure at, rising. Raises MidstreamError for one that there is not.

        None: of the base layer its default and one to either side, of the mask layer some over all that it offers.
        """
        there, offered = sorted(self.base.qualities), self.layer.qualities
        usual = around(there, self.base.default_quality)
        return picked("base", base or usual, there), picked(MASK, mask or thinned(offered, RUNGS), offered)

    def of(self, picture: Picture, base: Sequence[int], mask: Sequence[int]) -> Iterator[Shown]:
        """The masks of a picture: of uncoded features, then by each quality of the base and of the mask layer."""
        (features,) = self._ours.features(picture)
        yield Shown(Way(UNCODED, None, None), None, self._looked_at(features, picture))
        for quality in base:
            yield from self._coded(picture, quality, mask)

    def _coded(self, picture: Picture, quality: int, mask: Sequence[int]) -> Iterator[Shown]:
        height, width = picture.shape[:2]
        layers = self._ours.base(picture, quality)
        (features,) = self.base.decode(layers, self._ours.window(picture))
        sent = self._ours.packed(picture, layers, quality)
        yield Shown(Way(BASE, quality, None), len(sent), self._looked_at(features, picture))
        for finer in mask:
            both: list[Layer] = [*layers, self._ours.pictures.encode(MASK, picture, layers, finer)]
            sent = self._ours.packed(picture, both, quality)
            found = self._ours.pictures.mask(unpack(sent).layers, width, height)
            yield Shown(Way(BOTH, quality, finer), len(sent), found)

    def _looked_at(self, features: Features, picture: Picture) -> Mask:
        """What the head sees in features that no mask layer refined: they are all that it is given."""
        height, width = picture.shape[:2]
        fed = {"features": features[None], "beside": features[None]}
        scores = self._networks.run(self._head, "scores", **fed)[0]
        return classes(scores, self._ours.window(picture), width, height)


def around(qualities: Sequence[int], default: int) -> list[int]:
    """The default, and what lies halfway from it to the lowest and to the highest."""
    at = qualities.index(default)
    return [qualities[at // 2], default, qualities[(at + len(qualities)) // 2]]


def picked(layer: str, wanted: Sequence[int], there: Sequence[int]) -> list[int]:
    """Those wanted, each once, rising. Raises MidstreamError for one that the layer has not."""
    if strange := [quality for quality in wanted if quality not in there]:
        raise MidstreamError(f"layer {layer!r} has qualities {there[0]}..{there[-1]}, not {strange}")
    return sorted(set(wanted))
