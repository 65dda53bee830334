"""Planes of coefficients to bytes and back: contexts, quantiser, symbols. The reference that coefficients.c must equal.

The planes [planes, blocks] of a tensor are coded in order, the tensors of a cut one after the other, in one rANS
stream. Which table codes a coefficient follows from

* the *class* of its plane: how large its coefficients are on average, known from calibration (`classes`);
* its *bin*: how active its block was in the planes before, beside what one expects of these planes (`bins`).

All blocks of a plane are independent of each other, given the planes before. Everything is in integers: only quantising
and what a decoder hands on are floats. docs/bitstream.md, "Codec 1", is the normative text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, rans
from common.codec.container import check

Features = NDArray[np.float32]
Integers = NDArray[np.integer[Any]]
Index = NDArray[np.int32]
Sizes = NDArray[np.int32]

QUALITIES = range(1024)
CLASSES = 17
EDGES = (19, 29, 38, 48, 58, 70, 86, 109, 147)
"""Between the bins: activity over expectation, in 64ths."""
BINS = len(EDGES) + 1
TABLES = CLASSES * BINS
SYMBOLS = rans.MOST_SYMBOLS
ESCAPE = SYMBOLS - 1
"""The symbol of every size from here on."""
MOST = 4
"""Larger symbols count as this one in a block's activity, which therefore never leaves 0..2^15."""
POINT = 8
"""Binary digits of activities and expectations that are behind the point."""
DECAY = 5
"""What was seen fades by 2^-5 with every plane."""
TOP = 32767
"""The largest size of a coefficient."""
ROUNDING = np.float32(0.4)
"""What sizes gain before they are rounded down where there are no thresholds."""
LENGTH = 4
"""Bits that say how many bits follow an escape."""
SIGNS = rans.BITS
"""So many signs are coded at a time."""


def step_of(quality: int) -> float:
    """The quantiser's step: 64 qualities halve it. 256 is a step of 1, 0 one of 16, 1023 one of 2^-12 almost."""
    if quality not in QUALITIES:
        raise ValueError(f"quality: expected {QUALITIES[0]}..{QUALITIES[-1]}, got {quality}")
    return float(2.0 ** ((256 - quality) / 64))


def classes(scales: Integers, quality: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class [planes] and shift [planes] of planes with these scales: shift low bits of a size are coded as they are."""
    relative = scales.astype(np.int32) + (quality - 256)
    shifts = np.clip((relative >> 6) - 1, 0, rans.BITS)
    numbers = np.clip((relative - 64 * shifts + 141) >> 4, 0, CLASSES - 1)
    return numbers.astype(np.uint8), shifts.astype(np.uint8)


def bins(activity: Integers, expectation: int, edges: Sequence[int] = EDGES) -> Index:
    """The bin of each block."""
    one = 1 << POINT
    limits = (expectation + one) * np.array(edges)
    return np.searchsorted(limits, (activity + one) * 64, side="right").astype(np.int32)


def advance(activity: Integers, expectation: int, symbols: Integers, expected: int) -> tuple[Integers, int]:
    """Activity of each block and expectation after a plane with these symbols, of a class of which `expected` is."""
    added = np.minimum(symbols, MOST).astype(np.int32) << POINT
    return activity + added - (activity >> DECAY), expectation + expected - (expectation >> DECAY)


class Planes(NamedTuple):
    """What both sides know of a tensor before its first coefficient."""

    blocks: int
    classes: NDArray[np.uint8]
    shifts: NDArray[np.uint8]


class Flat(NamedTuple):
    """The planes of all tensors, one after the other, as the kernel takes them."""

    sizes: NDArray[np.int32]
    """[tensors, 2]: planes and blocks."""
    classes: NDArray[np.uint8]
    shifts: NDArray[np.uint8]


def flat(planes: Sequence[Planes]) -> Flat:
    """Of all tensors of a cut."""
    sizes = [(len(tensor.classes), tensor.blocks) for tensor in planes]
    classes = np.concatenate([tensor.classes for tensor in planes])
    return Flat(np.array(sizes, np.int32), classes, np.concatenate([tensor.shifts for tensor in planes]))


@dataclass(frozen=True)
class Model:
    """What calibration has counted: one for all tensors of a cut. Raises ValueError."""

    classes: ClassVar[int] = CLASSES
    """There are BINS tables of each."""

    expected: NDArray[np.uint16]
    """[CLASSES]: the mean of min(symbol, MOST), in 1/256."""
    frequencies: NDArray[np.uint16]
    """[TABLES, SYMBOLS]: rows sum to 2^14 and nothing is 0."""
    offset: NDArray[np.int8]
    """[TABLES, SYMBOLS]: how far from their size 1 to 14 coefficients lie on average, in 1/128 of a step."""
    thresholds: NDArray[np.float16]
    """[TABLES, ESCAPE], not falling: how many steps make a coefficient larger than 0, 1, ... 14."""

    def __post_init__(self) -> None:
        """ValueError if the parts do not fit the format."""
        tables = self.classes * BINS
        for name, kind, shape in (
            ("expected", np.uint16, (self.classes,)),
            ("frequencies", np.uint16, (tables, SYMBOLS)),
            ("offset", np.int8, (tables, SYMBOLS)),
            ("thresholds", np.float16, (tables, ESCAPE)),
        ):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                got = f"{array.dtype} {list(array.shape)}"
                raise ValueError(f"{name}: expected {np.dtype(kind)} {list(shape)}, got {got}")
        if self.expected.max() > MOST << POINT:
            raise ValueError(f"expected: expected numbers up to {MOST << POINT}, got {self.expected.max()}")
        if not self.frequencies.all():
            raise ValueError("frequencies: expected every symbol to have one in every table")
        if not (self.thresholds.min() > 0 and np.isfinite(self.thresholds).all() and self._rising()):
            raise ValueError("thresholds: expected finite rows above 0 that never fall")
        rans.Tables(self.frequencies)  # ValueError unless rows sum to 2^14

    def _rising(self) -> bool:
        return bool((np.diff(self.thresholds.astype(np.float32), axis=1) >= 0).all())

    @cached_property
    def tables(self) -> rans.Tables:
        """For the coder."""
        return rans.Tables(self.frequencies)

    @cached_property
    def parts(self) -> rans.Parts:
        """[tables, SYMBOLS] what the kernel's encoder lists for a symbol."""
        tables, symbols = np.indices((self.classes * BINS, SYMBOLS))
        return self.tables.parts(symbols.astype(np.uint8), tables)

    @cached_property
    def limits(self) -> Features:
        """[TABLES, SYMBOLS] `thresholds`, where that encoder looks for them; the last of a row is never reached."""
        limits = np.full(self.frequencies.shape, np.inf, np.float32)
        limits[:, :ESCAPE] = self.thresholds
        return limits

    @cached_property
    def points(self) -> Features:
        """[TABLES, SYMBOLS] what the kernel's decoder takes sizes for if there is no shift."""
        tables, sizes = np.indices((self.classes * BINS, SYMBOLS), np.int32)
        return self.values(sizes.ravel(), tables.ravel(), 0).reshape(self.frequencies.shape)

    def encode(self, y: Features, planes: Flat) -> bytes:
        """The coefficients of all tensors, [planes, blocks] each, in steps, one after the other, by the kernel."""
        return _kernel.coefficients_encode(y, *planes, self.expected, self.parts, self.limits)

    def decode(self, data: bytes | memoryview, y: Features, planes: Flat) -> None:
        """What they stand for, into y, likewise. Raises BitstreamError unless `encode` writes such bytes."""
        sound = _kernel.coefficients_decode(data, y, *planes, self.expected, self.tables.rows, self.points)
        check(sound, "coefficients", f"the bytes that encode {y.size} of them", f"{len(data)} others")

    def quantise(self, y: Features, index: Index, shift: int) -> Sizes:
        """Sizes of coefficients y [blocks], in steps, whose tables are known. NaN has size 0, infinity TOP."""
        t = np.abs(np.where(np.isnan(y), np.float32(0), y))
        rounded = np.minimum(np.floor(t + ROUNDING), TOP).astype(np.int32)
        if shift:
            return rounded
        below = (t[:, None] >= self.thresholds[index]).sum(axis=1).astype(np.int32)
        return np.where(below < ESCAPE, below, np.maximum(rounded, ESCAPE))

    def values(self, q: Sizes, index: Index, shift: int) -> Features:
        """What coefficients q [blocks], signs included, stand for, in steps: exact in float32."""
        sizes = np.abs(q)
        small = (shift == 0) & (sizes > 0) & (sizes < ESCAPE)
        offset = np.where(small, self.offset[index, np.minimum(sizes, ESCAPE)], 0).astype(np.float32)
        values: Features = np.sign(q) * (sizes.astype(np.float32) + offset / np.float32(128))
        return values.astype(np.float32)


# ---- Reference -------------------------------------------------------------------------------------------------


class Walk:
    """One tensor, plane by plane: iterating says which tables code the next plane, `code` that it is coded."""

    def __init__(self, model: Model, planes: Planes) -> None:
        self.model, self.planes = model, planes
        self.activity: Integers = np.zeros(planes.blocks, np.int32)
        self.expectation = 0

    def __iter__(self) -> Iterator[tuple[int, Index, int]]:
        """Number, tables [blocks] and shift of each plane; `code` must be called before the next."""
        for plane, (number, shift) in enumerate(zip(self.planes.classes, self.planes.shifts, strict=True)):
            self._expected = int(self.model.expected[number])
            yield plane, int(number) * BINS + bins(self.activity, self.expectation), int(shift)

    def code(self, symbols: Integers) -> None:
        """Go on, the symbols [blocks] of this plane being known."""
        self.activity, self.expectation = advance(self.activity, self.expectation, symbols, self._expected)


def encode(model: Model, y: Sequence[Features], planes: Sequence[Planes]) -> bytes:
    """The coefficients of all tensors, [planes, blocks] each, in steps."""
    encoder = rans.Encoder(model.tables)
    for values, known in zip(y, planes, strict=True):
        walk = Walk(model, known)
        for plane, index, shift in walk:
            sizes = model.quantise(values[plane], index, shift)
            symbols = np.minimum(sizes >> shift, ESCAPE).astype(np.uint8)
            encoder.put(symbols, index)
            put_rest(encoder, sizes, shift)
            put_signs(encoder, values[plane][sizes > 0] < 0)
            walk.code(symbols)
    return encoder.finish()


def put_rest(encoder: rans.Encoder, sizes: Sizes, shift: int) -> None:
    """What the symbols of a plane do not say of the sizes: block by block, the part beyond the escape, the low bits."""
    for size in sizes.tolist():
        beyond = (size >> shift) - ESCAPE + 1
        if beyond > 0:
            length = beyond.bit_length() - 1
            encoder.raw([length], LENGTH)
            if length:
                encoder.raw([beyond], length)
        if shift:
            encoder.raw([size], shift)


def put_signs(encoder: rans.Encoder, negative: NDArray[np.bool_]) -> None:
    """One bit for each coefficient that is not 0, up to 14 at a time, the first one highest."""
    for at in range(0, len(negative), SIGNS):
        part = negative[at : at + SIGNS]
        encoder.raw([int("".join("01"[bit] for bit in part.tolist()), 2)], len(part))


def decode(model: Model, data: bytes, planes: Sequence[Planes]) -> list[Features]:
    """What the coefficients stand for, in steps: [planes, blocks] for each tensor. Raises BitstreamError."""
    decoder = rans.Decoder(data, model.tables)
    found = []
    for known in planes:
        values = np.empty((len(known.classes), known.blocks), np.float32)
        walk = Walk(model, known)
        for plane, index, shift in walk:
            symbols = decoder.take(index)
            sizes = take_rest(decoder, symbols, shift)
            values[plane] = model.values(take_signs(decoder, sizes), index, shift)
            walk.code(symbols)
        found.append(values)
    decoder.end()
    return found


def take_rest(decoder: rans.Decoder, symbols: Integers, shift: int) -> Sizes:
    """The sizes. Raises BitstreamError."""
    sizes = symbols.astype(np.int32)
    for block, symbol in enumerate(symbols.tolist()):
        size = int(symbol)
        if size == ESCAPE:
            (length,) = decoder.raw(1, LENGTH).tolist()
            check(length <= rans.BITS, "escape", f"a length up to {rans.BITS}", length)
            size += (1 << length) - 1 + (int(decoder.raw(1, length)[0]) if length else 0)
        if shift:
            size = size << shift | int(decoder.raw(1, shift)[0])
        check(size <= TOP, "coefficient", f"up to {TOP}", size)
        sizes[block] = size
    return sizes


def take_signs(decoder: rans.Decoder, sizes: Sizes) -> Sizes:
    """The coefficients, of which the sizes are known."""
    q, where = sizes.copy(), np.flatnonzero(sizes)
    for at in range(0, len(where), SIGNS):
        part = where[at : at + SIGNS]
        bits = int(decoder.raw(1, len(part))[0])
        negative = [bits >> (len(part) - 1 - i) & 1 for i in range(len(part))]
        q[part] *= 1 - 2 * np.array(negative)
    return q
