"""What there is of a frame when one of its layers is coded or decoded: the layers, and what those below say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from common.codec.container import Layer, check
from common.scalable.latent_features import Fixed, Raised
from common.scalable.picture_networks import Pixels
from common.scalable.regions import Regions


@dataclass(frozen=True, slots=True)
class Below:
    """What the base layer says, and the mask layer if the bundle has one, of a codec whose base is a latent."""

    latent: Fixed
    """The base layer's."""
    base: Raised
    """What the base layer gives."""
    next: Raised
    """What the layer right below gives: the base, or the mask layer."""


class Frame:
    """Layers of a picture of `width` x `height`. What those below one say is worked out once, if it is needed."""

    def __init__(self, layers: Sequence[Layer], width: int, height: int, below: Callable[[], Below]) -> None:
        self.width, self.height = width, height
        self._payloads = {int(layer.kind): layer.payload for layer in layers}
        self._below = below

    @cached_property
    def below(self) -> Below:
        """Raises BitstreamError for layers that do not fit."""
        return self._below()

    def payload(self, kind: int) -> bytes:
        """Of the layer of this kind. Raises BitstreamError if there is none."""
        check(kind in self._payloads, "layers", f"one of kind {kind}", sorted(self._payloads))
        return self._payloads[kind]


class PixelLayer(Protocol):
    """A layer that shows the picture."""

    def encode(self, picture: Pixels, frame: Frame, quality: int) -> bytes:
        """Beside the layers of lower kinds that the frame has. Raises BitstreamError, BundleError or ValueError."""
        ...

    def latent(self, frame: Frame) -> Fixed:
        """What `decode` makes the picture of, in 256ths, the same on every machine."""
        ...

    def decode(self, frame: Frame, regions: Regions | None) -> Pixels:
        """The picture [height, width, 3], or that below it but for these regions. ValueError if there is none below."""
        ...
