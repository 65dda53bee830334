"""Planes of a frame that is coded after another of its camera, to bytes and back: the reference of temporal.c.

A frame that has been coded leaves its *levels*: what its coefficients stand for, integers in 1/128 of its step, the
same in encoder and decoder to the last bit. The next frame's coefficients are predicted from those of a *reference*,
times a weight, and what is coded is the difference, by contexts as in `coefficients`. The weight of a block is neither
chosen nor sent: it is the slope of the line through what the planes before showed there, the reference's levels against
this frame's. So it is near 1 where nothing moves and near 0 where the reference says nothing, and the frame is
then coded as if it were alone.

Predictions, weights and contexts are integers; floats meet them only where the encoder takes the difference. So nothing
can drift. docs/bitstream.md, "Frames after another", is the normative text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, latent_temporal, rans
from common.codec.coefficients import (
    BINS,
    ESCAPE,
    SYMBOLS,
    Flat,
    Index,
    Integers,
    Model,
    Planes,
    advance,
    bins,
    put_rest,
    put_signs,
    take_rest,
    take_signs,
)
from common.codec.container import Layer, check
from common.codec.window import Window
from common.errors import MissingReferenceError

Features = NDArray[np.float32]
Levels = NDArray[np.int32]

TABLES = Path(__file__).with_name("temporal.npz")
"""Counted on videos, not on a bundle's photos: relative to a plane's scale, changes are much the same everywhere."""

CLASSES = 25
EDGES = (6, 11, 18, 27, 40, 58, 84, 120, 170)
"""Between the bins, as in `coefficients`; but blocks that were told well have next to no activity."""
POINT = 128
"""Levels in a step."""
LIMIT = (1 << 22) - 1
"""The largest level."""
UNIT, FAR = 4, 1023
"""The sums that make weights leave so many binary digits of a level away, and what is larger counts as this."""
FADE = 5
PRIOR = 256
"""So much of a block's sum of squares speaks for the weight of all blocks."""
FIRST = 128
"""So much of each block speaks for a weight of 1 before the first plane."""
ONE = 256
"""The weight of 1."""
STILL = 255
"""Instead of a row: no block of a tensor moves."""
ROW_BITS = 8
NAME_BYTES = 6
FORMAT = 2
"""Raised by whatever changes what bytes, or levels, of frames after others mean: then no older name is known."""
AFTER = 0x8000
"""Beside the quality at the head of a payload: the frame is coded after another, whose name comes next."""
KEPT = 0x4000
"""Beside the quality: later frames may be coded after this one."""
_OF = Struct("<H6i?")


@dataclass(frozen=True, eq=False)
class State:
    """What a coded frame leaves for those after it. Never changed."""

    quality: int
    window: Window | None
    levels: Levels
    """[size] of all tensors' planes, one after the other; of a latent, those of `latent_temporal`."""
    name: bytes = field(default=b"")
    """NAME_BYTES that follow from all the rest, and from the tables and the format here."""

    @classmethod
    def of(cls, quality: int, window: Window | None, levels: Levels) -> "State":
        """The state of these levels, with its name."""
        levels.flags.writeable = False
        return cls(quality, window, levels, named(quality, window, levels))

    @property
    def sound(self) -> bool:
        """Whether it still is what its name says."""
        return named(self.quality, self.window, self.levels) == self.name


class Coded(NamedTuple):
    """A frame that may be coded after another, and what it leaves for those after it."""

    layers: list[Layer]
    state: State
    alone: bool
    """Whether it decodes without others."""
    standing: Layer | None = None
    """Of a frame that does not, where its codec can say just the same without others: the base layer for that."""


def named(quality: int, window: Window | None, levels: Levels) -> bytes:
    """The name of a state."""
    of = _OF.pack(quality, *(window or (0,) * 6), window is None)
    digest = blake2b(of, digest_size=NAME_BYTES, key=tables_name())
    digest.update(levels.astype("<i4", copy=False).tobytes())
    return digest.digest()


@cache
def tables_name() -> bytes:
    """Four bytes that tell FORMAT, these tables and those of latents from others, which cannot read what these code."""
    both = TABLES.read_bytes() + latent_temporal.TABLES.read_bytes()
    return blake2b(bytes([FORMAT]) + both, digest_size=4).digest()


def found(name: bytes, held: Callable[[bytes], State | None]) -> State:
    """The state of this name. Raises MissingReferenceError."""
    state = held(name)
    if state is None:
        raise MissingReferenceError(f"the frame is coded after {name.hex()}, which is not held here")
    if not state.sound:
        raise MissingReferenceError(f"the frame is coded after {name.hex()}, which is damaged here")
    return state


@dataclass(frozen=True)
class Changes(Model):
    """Tables of differences; as those of coefficients that are coded alone, but of more classes: nearly no shifts."""

    classes: ClassVar[int] = CLASSES

    def encode_after(
        self, y: Features, planes: Flat, norms: NDArray[np.uint8], before: Levels, moved: "Moved | None" = None
    ) -> tuple[bytes, Levels]:
        """The coefficients, in steps, after levels [size] that fit this quality and are `moved`; and what they leave.

        None: none of them is.
        """
        levels = np.empty(y.size, np.int32)
        moved = still(planes) if moved is None else moved
        coded = _kernel.temporal_encode(
            y, *planes, self.expected, self.offset, norms, before, levels, *moved, self.parts, self.limits
        )
        return coded, levels

    def moves(self, data: bytes | memoryview, planes: Flat) -> "Moved":
        """How the levels that these bytes are coded after are moved. BitstreamError if `encode_after` says no such."""
        moved = still(planes)
        sound = _kernel.temporal_motion(data, planes.sizes, *moved, self.tables.rows)
        check(sound, "vectors", f"those of {moved.differences.size // 2} blocks", f"{len(data)} other bytes")
        return moved

    def row(self, differences: Integers) -> int:
        """Under which row these are fewest bits; STILL if nothing moves."""
        if not differences.any():
            return STILL
        symbols = np.bincount(np.minimum(np.abs(differences), ESCAPE).ravel(), minlength=SYMBOLS)
        return int(np.argmin(self._costs @ symbols))

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        costs: NDArray[np.float64] = -np.log2(self.frequencies.astype(np.float64))
        return costs

    def decode_after(
        self, data: bytes | memoryview, y: Features, planes: Flat, norms: NDArray[np.uint8], before: Levels
    ) -> Levels:
        """The levels, and into y what they stand for, in steps. BitstreamError unless `encode_after` writes this.

        `before` is moved.
        """
        levels = np.empty(y.size, np.int32)
        sound = _kernel.temporal_decode(
            data, y, *planes, self.expected, self.offset, norms, before, levels, *still(planes), self.tables.rows
        )
        check(sound, "coefficients", f"the bytes that encode {y.size} of them after these", f"{len(data)} others")
        return levels


class Moved(NamedTuple):
    """How the levels of a reference are moved before a frame is coded after them, as bytes say it (`motion`)."""

    differences: NDArray[np.int32]
    """[2, blocks] of each tensor, one after the other."""
    rows: NDArray[np.uint8]
    """[tensors]: which row codes them."""


def still(planes: Flat) -> Moved:
    """Nothing moves."""
    blocks = int(planes.sizes[:, 1].sum())
    return Moved(np.zeros(2 * blocks, np.int32), np.full(len(planes.sizes), STILL, np.uint8))


@cache
def changes() -> Changes:
    """The tables that ship."""
    with np.load(TABLES, allow_pickle=False) as arrays:
        return Changes(*(arrays[name] for name in ("expected", "frequencies", "offset", "thresholds")))


def classes(scales: Integers, quality: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Class, shift and norm [planes] of planes with these scales: levels are summed in units of 2^norm steps."""
    relative = scales.astype(np.int32) + (quality - 256)
    shifts = np.clip((relative >> 6) - 3, 0, rans.BITS)
    numbers = np.clip((relative - 64 * shifts + 141) >> 4, 0, CLASSES - 1)
    return numbers.astype(np.uint8), shifts.astype(np.uint8), np.clip(relative >> 6, 0, 15).astype(np.uint8)


def rescaled(levels: Levels, octaves: int, sixtyfourths: int) -> Levels:
    """Levels of one quality at another, that is higher by 64 octaves + sixtyfourths: -16..15 and 0..63."""
    digits = 15 - octaves
    larger = levels.astype(np.int64) * FACTORS[sixtyfourths]
    rounded = (larger + ((1 << digits) >> 1)) >> digits
    found: Levels = np.clip(rounded, -LIMIT, LIMIT).astype(np.int32)
    return found


FACTORS = tuple(round(2 ** (15 + i / 64)) for i in range(64))
"""2^(i / 64), in 2^-15: none of them is near the middle between two integers."""


def requantised(levels: Levels, quality: int, wanted: int) -> Levels:
    """Levels of a quality, at the wanted one."""
    return levels if quality == wanted else rescaled(levels, *divmod(wanted - quality, 64))


# ---- Reference -------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """A tensor's planes, their norms, and the reference's levels [planes, blocks] at this quality."""

    planes: Planes
    norms: NDArray[np.uint8]
    before: Levels


class Walk:
    """One tensor, plane by plane: iterating predicts the next plane, `code` says which levels it was found to have."""

    def __init__(self, model: Changes, told: Told) -> None:
        blocks = told.planes.blocks
        self.model, self.told = model, told
        self.activity: Integers = np.zeros(blocks, np.int32)
        self.expectation = 0
        self.reference, self.both = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
        self.all_reference = self.all_both = 0

    def __iter__(self) -> Iterator[tuple[int, Index, int, Levels]]:
        """Number, tables [blocks], shift and prediction [blocks] of each plane; `code` must follow before the next."""
        planes = self.told.planes
        for plane, (number, shift) in enumerate(zip(planes.classes, planes.shifts, strict=True)):
            self._expected, self._norm = int(self.model.expected[number]), int(self.told.norms[plane])
            self._before = self.told.before[plane]
            index = int(number) * BINS + bins(self.activity, self.expectation, EDGES)
            yield plane, index, int(shift), self._predicted()

    def _predicted(self) -> Levels:
        some = FIRST * self.told.planes.blocks
        every = weights(np.array([self.all_both + some]), np.array([self.all_reference + some]))[0]
        own = weights(self.both + every, self.reference + PRIOR)
        predicted: Levels = ((own * self._before + ONE // 2) >> 8).astype(np.int32)
        return predicted

    def code(self, symbols: Integers, levels: Levels) -> None:
        """Go on, the symbols and levels [blocks] of this plane being known."""
        self.activity, self.expectation = advance(self.activity, self.expectation, symbols, self._expected)
        before, now = normalised(self._before, self._norm), normalised(levels, self._norm)
        self.reference += before * before - (self.reference >> FADE)
        self.both += before * now - (self.both >> FADE)
        self.all_reference += int((before * before).sum()) - (self.all_reference >> FADE)
        self.all_both += int((before * now).sum()) - (self.all_both >> FADE)


def normalised(levels: Levels, norm: int) -> NDArray[np.int64]:
    """Levels in 1/8 of 2^norm steps."""
    digits = UNIT + norm
    rounded: NDArray[np.int64] = (levels.astype(np.int64) + (1 << (digits - 1))) >> digits
    return rounded.clip(-FAR, FAR)


def weights(both: NDArray[np.int64], reference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slopes in 1/256, between 0 and 1."""
    slopes: NDArray[np.int64] = np.clip(both, 0, reference) * ONE // reference
    return slopes


def moved(model: Changes, predicted: Levels, q: NDArray[np.int32], index: Index, shift: int) -> Levels:
    """The levels of coded differences q [blocks]."""
    sizes = np.abs(q)
    small = (shift == 0) & (sizes > 0) & (sizes < ESCAPE)
    offset = np.where(small, model.offset[index, np.minimum(sizes, ESCAPE)], 0).astype(np.int64)
    levels: Levels = np.clip(predicted + np.sign(q) * (sizes.astype(np.int64) * POINT + offset), -LIMIT, LIMIT)
    return levels.astype(np.int32)


def encode(
    model: Changes, y: Sequence[Features], told: Sequence[Told], motion: Sequence[Integers]
) -> tuple[bytes, list[Levels]]:
    """The coefficients of all tensors, [planes, blocks] each, in steps; and the levels they leave.

    What is told is moved, and motion [2, blocks] of each tensor says how.
    """
    encoder, found = rans.Encoder(model.tables, lanes=1), []
    for apart in motion:
        put_motion(encoder, apart, model.row(apart))
    for values, known in zip(y, told, strict=True):
        walk, levels = Walk(model, known), np.empty(values.shape, np.int32)
        for plane, index, shift, predicted in walk:
            difference = values[plane] - predicted.astype(np.float32) / np.float32(POINT)
            sizes = model.quantise(difference, index, shift)
            symbols = np.minimum(sizes >> shift, ESCAPE).astype(np.uint8)
            encoder.put(symbols, index)
            put_rest(encoder, sizes, shift)
            put_signs(encoder, difference[sizes > 0] < 0)
            levels[plane] = moved(model, predicted, np.where(difference < 0, -sizes, sizes), index, shift)
            walk.code(symbols, levels[plane])
        found.append(levels)
    return encoder.finish(), found


def put_motion(encoder: rans.Encoder, apart: Integers, row: int) -> None:
    """Whether anything moves; if so the row, and under it the differences [2, blocks] of the vectors."""
    encoder.raw([row != STILL], 1)
    if row == STILL:
        return
    encoder.raw([row], ROW_BITS)
    for part in apart:
        sizes = np.abs(part)
        encoder.put(np.minimum(sizes, ESCAPE).astype(np.uint8), np.full(len(part), row, np.int32))
        put_rest(encoder, sizes, 0)
        put_signs(encoder, part[sizes > 0] < 0)


def take_motion(decoder: rans.Decoder, blocks: int) -> Index:
    """Differences [2, blocks] of a tensor's vectors. Raises BitstreamError."""
    if not decoder.raw(1, 1)[0]:
        return np.zeros((2, blocks), np.int32)
    row = int(decoder.raw(1, ROW_BITS)[0])
    check(row < CLASSES * BINS, "row of vectors", f"below {CLASSES * BINS}", row)
    index = np.full(blocks, row, np.int32)
    apart = np.stack([take_signs(decoder, take_rest(decoder, decoder.take(index), 0)) for _ in range(2)])
    check(bool(apart.any()), "vectors", "one that is not 0", "none")
    return apart


def decode(model: Changes, data: bytes, told: Sequence[Told]) -> tuple[list[Levels], list[Index]]:
    """The levels [planes, blocks] and the motion [2, blocks] of each tensor, what is told being moved so already.

    Raises BitstreamError.
    """
    decoder = rans.Decoder(data, model.tables, lanes=1)
    motion, found = [take_motion(decoder, known.planes.blocks) for known in told], []
    for known in told:
        walk, levels = Walk(model, known), np.empty(known.before.shape, np.int32)
        for plane, index, shift, predicted in walk:
            symbols = decoder.take(index)
            q = take_signs(decoder, take_rest(decoder, symbols, shift))
            levels[plane] = moved(model, predicted, q, index, shift)
            walk.code(symbols, levels[plane])
        found.append(levels)
    decoder.end()
    return found, motion
