"""Features (and, with other codecs, pictures) to layers of bytes and back.

A codec is a class with one signature for both halves (`Codec`), built from what the bundle says of it.

`container` wraps the layers of one frame; docs/bitstream.md is the law for all of it.
"""

try:
    from common.codec import _kernel  # noqa: F401 - for the message below
except ImportError as error:
    raise ImportError(
        "common.codec._kernel is not built: run `pip install .` in the source tree (it needs a C compiler)"
    ) from error

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from common.codec.container import Container, Kind, Layer, Limits, pack, unpack
from common.codec.lightweight import Lightweight
from common.codec.lightweight_rans import LightweightRans
from common.codec.temporal import Coded, State
from common.codec.transform import Transform
from common.codec.window import Window

Features = NDArray[np.float32]


class Codec(Protocol):
    """What codes the tensors of a cut, one float32 array each without the batch, and gives them back."""

    name: ClassVar[str]
    id: ClassVar[int]
    """In every container; never given to another codec."""

    @property
    def qualities(self) -> Collection[int]:
        """Which qualities there are, rising; more is better. A `range` if it is all of one."""
        ...

    @property
    def default_quality(self) -> int:
        """The one to use when nobody asks for another."""
        ...

    def encode(
        self, features: Sequence[Features], quality: int | None = None, window: Window | None = None
    ) -> list[Layer]:
        """The cut's tensors to layers, the base layer first. Outside the window nothing needs to be kept."""
        ...

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The layers, coded with this window, to the cut's tensors. Raises BitstreamError."""
        ...


class CodecOfArrays(Codec, Protocol):
    """One that needs no networks."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From the bundle: the [codec] table of bundle.toml and the arrays of codec.npz.

        Raises KeyError, TypeError or ValueError if they do not fit.
        """
        ...


class Read(NamedTuple):
    """A frame that came, before the network that makes features of it."""

    latent: NDArray[np.int32]
    cells: tuple[int, int, int, int]
    """Of the latent's grid those that are coded: top, left, bottom, right."""
    state: State | None
    """What it leaves, if that is to be held."""
    standing: Layer | None
    """Of a frame that was coded after another: a base layer that says the same without it."""


@runtime_checkable
class BatchCodec(Codec, Protocol):
    """One that has a network to run when it decodes, which several frames share."""

    def read(self, layers: Sequence[Layer], window: Window | None, held: Callable[[bytes], State | None]) -> Read:
        """A frame that may be coded after another, as far as it is integers. Raises as `TemporalCodec.decode_after`."""
        ...

    def raise_many(self, reads: Sequence[Read]) -> list[list[Features]]:
        """The cut's tensors of each, by one run of the network."""
        ...

    def decode_many(self, frames: Sequence[tuple[Sequence[Layer], Window | None]]) -> list[list[Features]]:
        """As `decode` of each, at once. Raises BitstreamError if one of them is damaged, without saying which."""
        ...

    def warm_up(self, frames: int) -> None:
        """Open the network and run so many blank frames through it. Raises BundleError if it does not work."""
        ...


@runtime_checkable
class TemporalCodec(Codec, Protocol):
    """One that can code a frame after another of its camera, which the decoder holds (`temporal`)."""

    def encode_after(
        self,
        features: Sequence[Features],
        quality: int | None,
        window: Window | None,
        before: State | None,
        keep: bool = True,
    ) -> Coded:
        """As `encode`, after that frame if it helps; and what this one leaves for others. `keep`: to be held."""
        ...

    def decode_after(
        self, layers: Sequence[Layer], window: Window | None, held: Callable[[bytes], State | None]
    ) -> tuple[list[Features], State | None]:
        """As `decode`, of any frame, and what it leaves if that is to be held. Raises MissingReferenceError, too."""
        ...


def decode_many(codec: Codec, frames: Sequence[tuple[Sequence[Layer], Window | None]]) -> list[list[Features]]:
    """As `decode` of each, at once where the codec gains by it. Raises BitstreamError if one of them is damaged."""
    if isinstance(codec, BatchCodec):
        return codec.decode_many(frames)
    return [codec.decode(layers, window) for layers, window in frames]


CODECS: dict[str, type[CodecOfArrays]] = {codec.name: codec for codec in (Lightweight, LightweightRans, Transform)}

__all__ = [
    "CODECS",
    "BatchCodec",
    "Codec",
    "CodecOfArrays",
    "Coded",
    "Container",
    "Features",
    "Kind",
    "Layer",
    "Lightweight",
    "LightweightRans",
    "Limits",
    "Read",
    "State",
    "TemporalCodec",
    "Transform",
    "Window",
    "decode_many",
    "pack",
    "unpack",
]
