"""The papers' quantisers with calibrated tables: clip, N levels, rANS in the context of neighbours. One layer.

A layer is that of `lightweight`, but its levels are coded as docs/bitstream.md, "Codec 2", says: by integer tables
from the bundle (`neighbours`), which know what the neighbours of a level say of it before the first one is coded.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import neighbours
from common.codec.lightweight import Lightweight
from common.codec.quantise import Features, Levels


class LightweightRans(Lightweight):
    """Codes float32 tensors [C, H, W] as one layer; quality is the number of levels N, 2 to 16."""

    name: ClassVar[str] = "lightweight-rans"
    id: ClassVar[int] = 2
    models: Mapping[int, neighbours.Model]

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Self:
        """What `lightweight` takes, and of `arrays` for each N what `calibrate` made.

        `classes` uint8 [C of all tensors], `buckets_N` uint8 [N] and `frequencies_N` uint16 [256 classes, N].
        """
        codec = super().from_params(params)
        found = arrays or {}
        codec.models = {n: neighbours.Model(*(found[name] for name in names(n))) for n in codec.qualities}
        channels = sum(shape[0] for shape in codec.shapes)
        if any(len(shape) != 3 for shape in codec.shapes):
            raise ValueError(f"shapes: expected [C, H, W] each, got {codec.shapes}")
        if any(model.levels != n or len(model.classes) != channels for n, model in codec.models.items()):
            raise ValueError(f"arrays: expected classes of {channels} channels and tables of {codec.qualities} levels")
        return codec

    def encode_levels(self, q: Levels, levels: int) -> bytes:
        """Levels below `levels` of all tensors, one after the other, to coded levels."""
        return self.models[levels].encode(q, self.shapes)

    def decode_levels(self, coded: memoryview, q: Levels, levels: int) -> bool:
        """Coded levels into q, flat; whether they are the bytes that `encode_levels` gives."""
        return self.models[levels].decode(coded, q, self.shapes)


def names(levels: int) -> tuple[str, str, str]:
    """What the arrays of one N are called."""
    return f"buckets_{levels}", "classes", f"frequencies_{levels}"


def calibrate(params: Mapping[str, Any], frames: Iterable[Sequence[Features]]) -> dict[str, NDArray[Any]]:
    """The arrays of a bundle, counted on the cut tensors of some hundred frames of the kind that will be coded.

    `params` is the bundle's [codec] table. Raises ValueError if it asks for more than 16 levels or there are no frames.
    """
    codec = Lightweight.from_params(params)
    values = [np.concatenate([tensor.ravel() for tensor in frame]).astype(np.float32) for frame in frames]
    most = neighbours.MOST_LEVELS
    if not values or max(codec.qualities) > most:
        raise ValueError(f"calibration: expected frames and 2..{most} levels, got {len(values)}, {codec.qualities}")
    classes = neighbours.rank(values, codec.shapes)
    arrays: dict[str, NDArray[Any]] = {"classes": classes}
    for n in codec.qualities:
        samples = [codec.quantiser(n).quantise(x) for x in values]
        model = neighbours.learn(samples, codec.shapes, n, classes)
        arrays |= {f"buckets_{n}": model.buckets[:n], f"frequencies_{n}": model.frequencies}
    return arrays
