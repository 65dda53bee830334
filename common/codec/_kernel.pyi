"""kernel.c as Python sees it. Buffers are C-contiguous; float32 is aligned. The names are those of the reference."""

from typing import Any

from _typeshed import ReadableBuffer, WriteableBuffer
from numpy.typing import NDArray

_In = ReadableBuffer | NDArray[Any]
_Out = WriteableBuffer | NDArray[Any]

def crc32c(data: _In, crc: int = 0, /) -> int: ...
def quantise(x: _In, q: _Out, c_min: float, c_max: float, levels: int, /) -> None: ...
def quantise_by(x: _In, q: _Out, thresholds: _In, /) -> None: ...
def dequantise(q: _In, x: _Out, table: _In, /) -> None: ...
def encode(q: _In, levels: int, /) -> bytes: ...
def decode(data: _In, q: _Out, levels: int, /) -> bool: ...
def rans_write(parts: _In, /) -> bytes: ...
def rans_encode(symbols: _In, index: _In, rows: _In, stride: int, values: _In, bits: int, /) -> bytes: ...
def rans_take(state: _Out, data: _In, rows: _In, stride: int, index: _In, symbols: _Out, /) -> None: ...
def rans_take_raw(state: _Out, data: _In, values: _Out, bits: int, /) -> None: ...
def rans_vector(on: bool, /) -> bool: ...
def neighbours_encode(q: _In, shapes: _In, classes: _In, buckets: _In, rows: _In, stride: int, /) -> bytes: ...
def neighbours_decode(
    data: _In, q: _Out, shapes: _In, classes: _In, buckets: _In, rows: _In, stride: int, /
) -> bool: ...
def analyse(
    shape: tuple[int, int, int],
    grid: tuple[int, int, int, int, int],
    features: _In,
    y: _Out,
    mean: _In,
    columns_forward: _In,
    columns_frequency: _In,
    columns_used: _In,
    turn: _In,
    direct_forward: _In,
    direct_frequency: _In,
    place: _In,
    scale: float,
    /,
) -> None: ...
def synthesise(
    shape: tuple[int, int, int],
    grid: tuple[int, int, int, int, int],
    y: _In,
    features: _Out,
    mean: _In,
    blank: _In,
    turned_place: _In,
    unturn: _In,
    terms: _In,
    columns_inverse: _In,
    direct_place: _In,
    direct_frequency: _In,
    direct_inverse: _In,
    step: float,
    /,
) -> None: ...
def basis_widest(floats: int, /) -> int: ...
def coefficients_encode(
    y: _In, sizes: _In, classes: _In, shifts: _In, expected: _In, parts: _In, thresholds: _In, /
) -> bytes: ...
def coefficients_decode(
    data: _In, y: _Out, sizes: _In, classes: _In, shifts: _In, expected: _In, rows: _In, values: _In, /
) -> bool: ...
def temporal_encode(
    y: _In,
    sizes: _In,
    classes: _In,
    shifts: _In,
    expected: _In,
    offsets: _In,
    norms: _In,
    reference: _In,
    levels: _Out,
    differences: _In,
    motion_rows: _In,
    parts: _In,
    thresholds: _In,
    /,
) -> bytes: ...
def temporal_decode(
    data: _In,
    y: _Out,
    sizes: _In,
    classes: _In,
    shifts: _In,
    expected: _In,
    offsets: _In,
    norms: _In,
    reference: _In,
    levels: _Out,
    differences: _Out,
    motion_rows: _Out,
    rows: _In,
    /,
) -> bool: ...
def temporal_motion(data: _In, sizes: _In, differences: _Out, motion_rows: _Out, rows: _In, /) -> bool: ...
def motion_multiply(shape: tuple[int, int, int], a: _In, b: _In, to: _Out, /) -> None: ...
def motion_search(
    shape: tuple[int, int, int, int], around: _In, now: _In, weights: _In, active: _In, vectors: _Out, /
) -> None: ...
def integers_layer(
    x: _In, places: tuple[int, int], taps: int, weights: _In, bias: _In, shift: _In, flags: int, to: _Out, /
) -> None: ...
def integers_newest(kind: int, /) -> int: ...
def values_encode(values: _In, index: _In, lengths: _In, rows: _In, bits: _In, /) -> bytes: ...
def values_take(state: _Out, data: _In, index: _In, rows: _In, bits: _In, values: _Out, /) -> bool: ...
def values_encode_each(values: _In, index: _In, lengths: _In, rows: _In, bits: _In, ends: _Out, /) -> bytes: ...
def values_take_each(
    state: _Out, data: _In, ends: _In, index: _In, lengths: _In, rows: _In, bits: _In, values: _Out, legal: _Out, /
) -> None: ...
def elements_parameters(said: _In, exponent: _In, row: int, at: int, mean: _Out, index: _Out, /) -> None: ...
def elements_quantise(
    y: _In,
    shape: tuple[int, int, int],
    cells: tuple[int, int, int, int],
    mean: _In,
    index: _In,
    thresholds: _In,
    inverse: float,
    q: _Out,
    /,
) -> None: ...
def elements_dequantise(q: _In, index: _In, offset: _In, step: int, mean: _Out, /) -> None: ...
