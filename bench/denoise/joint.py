"""The codec `denoise` of a bundle: a clean picture out of a noisy one, and the noisy picture above it."""

from typing import NamedTuple

from bench.pictures import Picture, thinned
from common.bundle import Bundle
from common.codec import Container, Layer, pack
from common.errors import MidstreamError
from common.feature_codec import of
from common.layers import CLEAN, NOISY
from common.scalable import PictureLayers

RUNGS = 6
"""Of the noisy layer's ladder."""


class Both(NamedTuple):
    """What a picture's two layers give, and their bytes, containers included."""

    clean: Picture
    noisy: Picture
    clean_bytes: int
    bytes: int


class Joint:
    """A bundle's layers `clean` and `noisy`, as edge and cloud make and read them, on one thread."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises MidstreamError if the bundle has no such layers."""
        self.bundle = bundle
        if not {CLEAN, NOISY} <= {layer.name for layer in bundle.manifest.layers}:
            raise MidstreamError(f"{bundle!r} has no layers {CLEAN!r} and {NOISY!r}: it does not denoise")
        self.pictures = PictureLayers.open(bundle, threads=1)
        self._codec_id = of(bundle).id

    @property
    def default(self) -> int:
        """Quality of the noisy layer."""
        return self.pictures.layer(NOISY).default_quality

    def ladder(self) -> list[int]:
        """Qualities of the noisy layer, from coarse to fine."""
        return thinned(self.pictures.layer(NOISY).qualities, RUNGS)

    def both(self, picture: Picture, quality: int, below: int | None = None) -> Both:
        """A picture through both layers, the noisy one at this quality, the clean one at its default if not told."""
        height, width = picture.shape[:2]
        clean = self.pictures.encode(CLEAN, picture, [], below)
        layers = [clean, self.pictures.encode(NOISY, picture, [clean], quality)]
        found = [self.pictures.decode(layers, width, height, name) for name in (CLEAN, NOISY)]
        sizes = [len(self._packed(picture, some)) for some in ([clean], layers)]
        return Both(found[0], found[1], sizes[0], sizes[1])

    def _packed(self, picture: Picture, layers: list[Layer]) -> bytes:
        """The container they travel in; its quality is that of the detector's layer, which is not there."""
        height, width = picture.shape[:2]
        return pack(Container(self.bundle.prefix, self._codec_id, 0, width, height, layers))
