"""What training has left of a latent, and what a quality means. Read beside docs/bitstream.md, "Codec 5"."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import rounding
from common.codec.elements import NARROW, SCALES
from common.codec.rounding import Thresholds
from common.codec.values import Rows

Arrays = Mapping[str, NDArray[Any]]

ONE_STEP = 26
"""The row of a scale of one step."""
EXPONENTS = range(-16, 9)
OCTAVES = range(-8, 12)
"""Of the step."""
OFFSETS = range(-1023, 1024)
MOST_LEVELS, MOST_HYPER_STEP = 64, 1 << 15


def root(sixty_fourths: int) -> int:
    """2^(30 + sixty_fourths / 64), rounded down: the 64th root of a power of two, by six square roots."""
    power = 1 << (30 * 64 + sixty_fourths)
    for _ in range(6):
        power = isqrt(power)
    return power


ROOTS = [root(part) for part in range(64)]


def step_fixed(below: int) -> int:
    """2^(below / 64) in 1/65536, rounded; `below` is how much lower the quality is than that of a step of 1."""
    octave, part = divmod(below, 64)
    if octave not in OCTAVES:
        raise ValueError(f"quality: expected steps of 2^{OCTAVES[0]} to 2^{OCTAVES[-1] + 1}, got 2^{below / 64:.3f}")
    shift = 30 - 16 - octave
    return (ROOTS[part] + (1 << shift >> 1)) >> shift


@dataclass(frozen=True)
class Model:
    """What training has left of a latent, but for its networks. Raises ValueError."""

    exponent: NDArray[np.int8]
    """[C]: log2 of how far each channel reaches; what the hyper-decoder says is in units of it."""
    offset: NDArray[np.int16]
    """[levels, SCALES]: how much nearer to its mean than q steps a value comes back, in 1/1024 of a step."""
    levels: NDArray[np.uint16]
    """Rising: from which quality on each of them holds; the first one below, too."""
    z_step: NDArray[np.int32]
    """[levels]: of z, in 1/64."""
    centre: NDArray[np.int32]
    """[Z]: what 0 stands for in z, in 1/64."""
    rows: Rows
    """SCALES of y, then those of z: for each level one a channel."""

    def __post_init__(self) -> None:
        """ValueError if the parts do not fit the format or each other."""
        for name, kind, shape in (
            ("exponent", np.int8, (self.exponent.size,)),
            ("offset", np.int16, (self.levels.size, SCALES)),
            ("levels", np.uint16, (self.levels.size,)),
            ("z_step", np.int32, (self.levels.size,)),
            ("centre", np.int32, (self.centre.size,)),
        ):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape or not array.size:
                got = f"{array.dtype} {list(array.shape)}"
                raise ValueError(f"{name}: expected {np.dtype(kind)} {list(shape)}, got {got}")
        if len(self.levels) > MOST_LEVELS or (np.diff(self.levels.astype(np.int64)) <= 0).any():
            raise ValueError(f"levels: expected up to {MOST_LEVELS} rising qualities, got {self.levels.tolist()}")
        for name, least, most in (
            ("exponent", EXPONENTS[0], EXPONENTS[-1]),
            ("offset", OFFSETS[0], OFFSETS[-1]),
            ("z_step", 1, MOST_HYPER_STEP),
            ("centre", -NARROW, NARROW),
        ):
            array = getattr(self, name)
            if array.min() < least or array.max() > most:
                raise ValueError(f"{name}: expected {least}..{most}, got {array.min()}..{array.max()}")
        if len(self.rows.bits) != SCALES + len(self.levels) * len(self.centre):
            expected = f"{len(self.levels) * len(self.centre)} rows"
            raise ValueError(f"z.bits: expected {expected}, got {len(self.rows.bits) - SCALES}")

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str) -> Self:
        """Of a bundle. Raises KeyError or ValueError."""
        bits, frequencies = (
            np.concatenate([arrays[f"{prefix}.y.{name}"], arrays[f"{prefix}.z.{name}"]])
            for name in ("bits", "frequencies")
        )
        for name in ("y.bits", "y.frequencies"):
            if len(arrays[f"{prefix}.{name}"]) != SCALES:
                raise ValueError(f"{name}: expected {SCALES} rows, got {len(arrays[f'{prefix}.{name}'])}")
        parts = {name: arrays[f"{prefix}.{name}"] for name in ("exponent", "offset", "levels", "z_step", "centre")}
        return cls(rows=Rows(bits, frequencies), **parts)

    @cached_property
    def thresholds(self) -> Thresholds:
        """[levels, SCALES, SIZES]: what an encoder rounds up."""
        return rounding.cheapest(self.rows, self.offset)

    def level(self, quality: int) -> int:
        """Which of `levels` a quality belongs to."""
        return max(0, int(np.searchsorted(self.levels, quality, side="right")) - 1)

    def point(self, quality: int, unit: int) -> "Point":
        """What a quality means where `unit` is that of a step of 1. ValueError for steps out of bounds."""
        below, level = unit - quality, self.level(quality)
        return Point(level, step_fixed(below), int(self.z_step[level]), ONE_STEP - ((below + 4) >> 3))


class Point(NamedTuple):
    """What a quality means."""

    level: int
    step: int
    """Of y, in 1/65536."""
    z_step: int
    """In 1/64."""
    row: int
    """Under which an element of scale 1 is coded."""
