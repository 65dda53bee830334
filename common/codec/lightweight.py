"""The papers' codec for features: clip, N uniform levels, truncated unary bins, adaptive binary coding. One layer.

The payload is five bytes and then the coded levels:

     0       1       3       5
    +-------+-------+-------+----------------
    | N - 1 | c_min | c_max | coded levels ...
    +-------+-------+-------+----------------

Both ends of the clip are binary16. Any two finite binary16 numbers with c_min < c_max are at least 2^-11 of the
larger apart, so no float32 operation of the quantiser can overflow, and quantising a reconstruction returns its
level for every legal header. docs/bitstream.md, "Lightweight", is the normative text.
"""

import math
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, clip
from common.codec.container import Kind, Layer, check
from common.codec.quantise import Features, reconstruction
from common.codec.window import Window
from common.errors import BitstreamError

HEADER = Struct(">Bee")


class Lightweight:
    """Codes float32 tensors [C, H, W] as one layer; quality is the number of levels N."""

    name: ClassVar[str] = "lightweight"
    id: ClassVar[int] = 0

    def __init__(
        self, shapes: Sequence[Sequence[int]], clips: Mapping[int, tuple[float, float]], default_levels: int = 4
    ) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.clips = {levels: half_floats(levels, *ends) for levels, ends in clips.items()}
        self.qualities = tuple(sorted(self.clips))
        self.default_quality = default_levels
        if not self.shapes or min(map(min, self.shapes)) < 1:
            raise ValueError(f"shapes: expected positive sizes, got {self.shapes}")
        if default_levels not in self.clips:
            raise ValueError(f"default_levels: expected one of {sorted(self.clips)}, got {default_levels}")

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Self:
        """`clips` (a table of "N" = [c_min, c_max]) if it is given, else the model's from `mean` and `variance`.

        `shapes` are those of the cut's tensors. Needs no `arrays`.
        """
        shapes, default = params["shapes"], int(params.get("default_levels", 4))
        if "clips" in params:
            clips = {int(levels): (float(low), float(high)) for levels, (low, high) in params["clips"].items()}
            return cls(shapes, clips, default)
        model = clip.fit(float(params["mean"]), float(params["variance"]), float(params.get("slope", 0.1)))
        levels = [int(n) for n in params.get("levels", [default])]
        return cls(shapes, {n: clip.optimal_clip(model, n) for n in levels}, default)

    def encode(
        self, features: Sequence[Features], quality: int | None = None, window: Window | None = None
    ) -> list[Layer]:
        """The cut's tensors to one base layer. Everything is coded, whatever the window."""
        levels = self.default_quality if quality is None else quality
        if [tensor.shape for tensor in features] != self.shapes:
            raise ValueError(f"features: expected shapes {self.shapes}, got {[tensor.shape for tensor in features]}")
        if levels not in self.clips:
            raise ValueError(f"quality: expected one of {self.qualities} levels, got {levels}")
        c_min, c_max = self.clips[levels]
        values = features[0] if len(features) == 1 else np.concatenate([tensor.ravel() for tensor in features])
        coded = _kernel.encode_features(np.require(values, np.float32, ["C", "A"]), c_min, c_max, levels)
        return [Layer(Kind.BASE, HEADER.pack(levels - 1, c_min, c_max) + coded)]

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The base layer to the cut's tensors; BitstreamError unless it is exactly what `encode` writes."""
        check(len(layers) == 1 and layers[0].kind == Kind.BASE, "layers", "one base layer", [x.kind for x in layers])
        payload = layers[0].payload
        levels, c_min, c_max = self.read_header(payload)
        q = np.empty(sum(self.sizes), np.uint8)
        if not _kernel.decode(memoryview(payload)[HEADER.size :], q, levels):
            raise BitstreamError(f"coded levels: expected the bytes that encode {q.size} levels of {levels}")
        values = np.empty(q.size, np.float32)
        _kernel.dequantise(q, values, reconstruction(c_min, c_max, levels))
        parts = np.split(values, np.cumsum(self.sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def read_header(self, payload: bytes) -> tuple[int, float, float]:
        """Levels N, c_min and c_max, checked."""
        check(len(payload) > HEADER.size, "base layer", f"more than {HEADER.size} bytes", len(payload))
        top, c_min, c_max = HEADER.unpack_from(payload)
        c_min, c_max = c_min + 0.0, c_max + 0.0  # -0 reads as 0
        check(top + 1 in self.clips, "levels", f"one of {sorted(self.clips)}", top + 1)
        check(math.isfinite(c_min), "c_min", "a finite number", c_min)
        check(math.isfinite(c_max), "c_max", "a finite number", c_max)
        check(c_min < c_max, "c_max", f"more than {c_min}", c_max)
        return top + 1, c_min, c_max


def half_floats(levels: int, c_min: float, c_max: float) -> tuple[float, float]:
    """The clip as the stream will carry it."""
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: expected 2..256, got {levels}")
    with np.errstate(over="ignore"):
        low, high = (np.array([c_min, c_max]).astype(np.float16) + np.float16(0)).tolist()
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"clip: expected c_min < c_max, distinct and finite as binary16, got {c_min}, {c_max}")
    return low, high
