"""The papers' codec for features: clip, N levels, truncated unary bins, adaptive binary coding. One layer.

The payload says how the levels were quantised, and then come the coded levels. Either uniformly, with the clip:

     0       1       3       5
    +-------+-------+-------+----------------
    | N - 1 | c_min | c_max | coded levels ...
    +-------+-------+-------+----------------

Both ends of the clip are binary16. Any two finite binary16 numbers with c_min < c_max are at least 2^-11 of the
larger apart, so no float32 operation of the quantiser can overflow, and quantising a reconstruction returns its
level for every legal header. Or by a table that `ecq` designed and both sides have in their bundle:

     0   1       2
    +---+-------+----------------
    | 0 | N - 1 | coded levels ...
    +---+-------+----------------

docs/bitstream.md, "Lightweight", is the normative text.
"""

import math
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, clip
from common.codec.container import Kind, Layer, check
from common.codec.quantise import Features, Levels, Table, reconstruction
from common.codec.window import Window
from common.errors import BitstreamError

HEADER = Struct(">Bee")
TABLE_HEADER = Struct(">BB")


class Clipped(NamedTuple):
    """N uniform levels from c_min to c_max, which travel with the frame."""

    levels: int
    c_min: float
    c_max: float

    @property
    def header(self) -> bytes:
        """What a layer begins with."""
        return HEADER.pack(self.levels - 1, self.c_min, self.c_max)

    @property
    def points(self) -> Features:
        """[N] what the levels stand for."""
        return reconstruction(self.c_min, self.c_max, self.levels)

    def quantise(self, values: Features) -> Levels:
        """Contiguous float32 of any shape to levels of that shape."""
        q = np.empty(values.shape, np.uint8)
        _kernel.quantise(values, q, self.c_min, self.c_max, self.levels)
        return q


class Tabled(NamedTuple):
    """N levels of a table, of which the frame says no more than N."""

    levels: int
    table: Table

    @property
    def header(self) -> bytes:
        """What a layer begins with."""
        return TABLE_HEADER.pack(0, self.levels - 1)

    @property
    def points(self) -> Features:
        """[N] what the levels stand for."""
        return self.table.points

    def quantise(self, values: Features) -> Levels:
        """Contiguous float32 of any shape to levels of that shape."""
        q = np.empty(values.shape, np.uint8)
        _kernel.quantise_by(values, q, self.table.thresholds)
        return q


class Lightweight:
    """Codes float32 tensors [C, H, W] as one layer; quality is the number of levels N."""

    name: ClassVar[str] = "lightweight"
    id: ClassVar[int] = 0

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        clips: Mapping[int, tuple[float, float]],
        default_levels: int = 4,
        tables: Mapping[int, Table] | None = None,
    ) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.clips = {levels: half_floats(levels, *ends) for levels, ends in clips.items()}
        self.tables = {levels: checked(levels, table) for levels, table in (tables or {}).items()}
        self.qualities = tuple(sorted({*self.clips, *self.tables}))
        self.default_quality = default_levels
        if not self.shapes or min(map(min, self.shapes)) < 1:
            raise ValueError(f"shapes: expected positive sizes, got {self.shapes}")
        if default_levels not in self.qualities:
            raise ValueError(f"default_levels: expected one of {list(self.qualities)}, got {default_levels}")

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Self:
        """`clips`, a table of "N" = [c_min, c_max], and `tables`, of "N" = { thresholds = [...], points = [...] }.

        Without `clips`, clips for `levels` come from the model with this `mean`, `variance` and `slope`. An N in both
        is quantised by its table. `shapes` are those of the cut's tensors. Needs no `arrays`.
        """
        shapes, default = params["shapes"], int(params.get("default_levels", 4))
        tables = {
            int(levels): Table(np.array(table["thresholds"], np.float32), np.array(table["points"], np.float32))
            for levels, table in params.get("tables", {}).items()
        }
        return cls(shapes, clips_of(params, default), default, tables)

    def quantiser(self, levels: int) -> Clipped | Tabled:
        """What the encoder uses for N levels. Raises ValueError if the bundle has no such N."""
        if levels in self.tables:
            return Tabled(levels, self.tables[levels])
        if levels in self.clips:
            return Clipped(levels, *self.clips[levels])
        raise ValueError(f"quality: expected one of {list(self.qualities)} levels, got {levels}")

    def encode(
        self, features: Sequence[Features], quality: int | None = None, window: Window | None = None
    ) -> list[Layer]:
        """The cut's tensors to one base layer. Everything is coded, whatever the window."""
        quantiser = self.quantiser(self.default_quality if quality is None else quality)
        if [tensor.shape for tensor in features] != self.shapes:
            raise ValueError(f"features: expected shapes {self.shapes}, got {[tensor.shape for tensor in features]}")
        values = features[0] if len(features) == 1 else np.concatenate([tensor.ravel() for tensor in features])
        q = quantiser.quantise(np.require(values, np.float32, ["C", "A"]))
        return [Layer(Kind.BASE, quantiser.header + self.encode_levels(q, quantiser.levels))]

    def decode(self, layers: Sequence[Layer], window: Window | None = None) -> list[Features]:
        """The base layer to the cut's tensors; BitstreamError unless it is exactly what `encode` writes."""
        check(len(layers) == 1 and layers[0].kind == Kind.BASE, "layers", "one base layer", [x.kind for x in layers])
        payload = layers[0].payload
        quantiser = self.read_header(payload)
        coded = memoryview(payload)[len(quantiser.header) :]
        q = np.empty(sum(self.sizes), np.uint8)
        if not self.decode_levels(coded, q, quantiser.levels):
            raise BitstreamError(f"coded levels: expected the bytes that encode {q.size} levels of {quantiser.levels}")
        values = np.empty(q.size, np.float32)
        _kernel.dequantise(q, values, quantiser.points)
        parts = np.split(values, np.cumsum(self.sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def encode_levels(self, q: Levels, levels: int) -> bytes:
        """Levels below `levels` of all tensors, one after the other, to coded levels."""
        return _kernel.encode(q, levels)

    def decode_levels(self, coded: memoryview, q: Levels, levels: int) -> bool:
        """Coded levels into q, flat; whether they are the bytes that `encode_levels` gives."""
        return _kernel.decode(coded, q, levels)

    def read_header(self, payload: bytes) -> Clipped | Tabled:
        """How the layer was quantised, checked."""
        size = TABLE_HEADER.size if payload[:1] == b"\0" else HEADER.size
        check(len(payload) > size, "base layer", f"more than {size} bytes", len(payload))
        if size == TABLE_HEADER.size:
            levels = payload[1] + 1
            check(levels in self.tables, "levels by table", f"one of {sorted(self.tables)}", levels)
            return Tabled(levels, self.tables[levels])
        top, c_min, c_max = HEADER.unpack_from(payload)
        check(top + 1 in self.clips, "levels", f"one of {sorted(self.clips)}", top + 1)
        check(math.isfinite(c_min), "c_min", "a finite number", c_min)
        check(math.isfinite(c_max), "c_max", "a finite number", c_max)
        check(c_min < c_max, "c_max", f"more than {c_min}", c_max)
        return Clipped(top + 1, c_min + 0.0, c_max + 0.0)  # -0 reads as 0


def clips_of(params: Mapping[str, Any], default: int) -> dict[int, tuple[float, float]]:
    """The clips of a [codec] table: as given, else the model's, else none."""
    if "clips" in params:
        return {int(levels): (float(low), float(high)) for levels, (low, high) in params["clips"].items()}
    if "mean" not in params and "tables" in params:
        return {}
    model = clip.fit(float(params["mean"]), float(params["variance"]), float(params.get("slope", 0.1)))
    return {int(levels): clip.optimal_clip(model, int(levels)) for levels in params.get("levels", [default])}


def checked(levels: int, table: Table) -> Table:
    """The table, which `dequantise` will index and `quantise_by` search. Raises ValueError if it cannot be one."""
    thresholds, points = table
    if not 2 <= levels <= 256 or thresholds.shape != (levels - 1,) or points.shape != (levels,):
        raise ValueError(
            f"tables: expected N - 1 thresholds and N points, N 2..256, got {thresholds.size}, {points.size}, {levels}"
        )
    if not all(np.isfinite(numbers).all() and (np.diff(numbers) >= 0).all() for numbers in table):
        raise ValueError(f"tables: expected finite thresholds and points that never fall for N = {levels}")
    return table


def half_floats(levels: int, c_min: float, c_max: float) -> tuple[float, float]:
    """The clip as the stream will carry it."""
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: expected 2..256, got {levels}")
    with np.errstate(over="ignore"):
        low, high = (np.array([c_min, c_max]).astype(np.float16) + np.float16(0)).tolist()
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"clip: expected c_min < c_max, distinct and finite as binary16, got {c_min}, {c_max}")
    return low, high
