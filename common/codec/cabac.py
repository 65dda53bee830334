"""Truncated unary bins and an adaptive binary range coder: the reference that kernel.c must equal byte for byte.

Read it beside docs/bitstream.md, "Coded levels". It is written to be compared with the text, not to be fast:
the product calls `common.codec._kernel`, tests hold the two equal.

A tensor of levels q in 0..N-1 is coded plane by plane. Plane k holds one bin per element with q >= k, in raster
order, and the bin is 1 if q > k: truncated unary, with the bins of one context kept together. The first half of
every plane goes to lane 0 and the rest to lane 1, two coders that know nothing of each other; lane 0 is laid
down from the first byte of the payload forwards, lane 1 from the last byte backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import BitstreamError

Levels = NDArray[np.uint8]

TOTAL = 1 << 17
FAST, SLOW = 5, 7  # final rates of the two estimates: windows of about 2^5 and 2^7 bins
WORD = 1 << 32
FULL = (1 << 64) - 1  # the first range


@dataclass(slots=True)
class Model:
    """How likely the next bin of a lane and plane differs from the last: (fast + slow + 1) / 2^17.

    It starts at one half, after an imagined bin 0, and learns almost by counting before it settles.
    """

    fast: int = 1 << 15
    slow: int = 1 << 15
    last: int = 0
    seen: int = 0

    @property
    def chance(self) -> int:
        return self.fast + self.slow + 1

    def update(self, differs: bool) -> None:
        """When a bin differs, "differs" and "equals" change places; then what did not happen gets less likely."""
        if differs:
            self.last ^= 1
            self.fast ^= 0xFFFF
            self.slow ^= 0xFFFF
        self.seen += 1
        shift = self.seen.bit_length()  # 1, 2, 2, 3, 3, 3, 3, 4, ...
        self.fast -= self.fast >> min(FAST, shift)
        self.slow -= self.slow >> min(SLOW, shift)


def shortest_end(low: int, range_: int) -> tuple[int, int]:
    """The fewest bytes, and the distance above low of the value they name, that end a lane: whatever follows
    them, the value stays inside the interval. Five always suffice, because range >= 2^32.
    """
    for length in range(1, 6):
        step = 1 << (64 - 8 * length)
        distance = -low % step
        if distance + step <= range_:
            return length, distance
    raise AssertionError("range below 2^32")


class Encoder:
    """One lane. `low` is an integer without bound here; the kernel keeps 64 bits and carries into what it wrote."""

    def __init__(self) -> None:
        self.low = 0
        self.range = FULL
        self.words = 0

    def encode(self, bit: int, model: Model) -> None:
        share = self.range >> 17
        differs = bit != model.last
        if differs:
            self.range = share * model.chance
        else:
            self.low += share * model.chance
            self.range = share * (TOTAL - model.chance)
        model.update(differs)
        if self.range < WORD:
            self.low *= WORD
            self.range *= WORD
            self.words += 1

    def finish(self) -> bytes:
        length, distance = shortest_end(self.low, self.range)
        value = (self.low + distance) >> (64 - 8 * length)
        return value.to_bytes(4 * self.words + length, "big")


class Decoder:
    """One lane. `offset` is the value read so far minus the encoder's low; beyond the end, zeros are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read = 8
        self.value = int.from_bytes(data[:8].ljust(8, b"\0"), "big")
        self.offset = self.value
        self.range = FULL
        if self.offset >= self.range:
            raise BitstreamError("coded levels: a lane starts with eight bytes 255, expected a value below 2^64 - 1")

    def decode(self, model: Model) -> int:
        share = self.range >> 17
        differs = self.offset < share * model.chance
        if differs:
            self.range = share * model.chance
        else:
            self.offset -= share * model.chance
            self.range = share * (TOTAL - model.chance)
        model.update(differs)
        if self.range < WORD:
            self.range *= WORD
            self.offset = self.offset * WORD + self.next_word()
        return model.last

    def next_word(self) -> int:
        word = int.from_bytes(self.data[self.read : self.read + 4].ljust(4, b"\0"), "big")
        self.read += 4
        self.value = (self.value * WORD + word) & FULL
        return word

    def finish(self) -> int:
        """The bytes the encoder would have written; an end that it would not have chosen is an error."""
        length, distance = shortest_end(self.value - self.offset, self.range)
        unsent = self.value % (1 << (64 - 8 * length))
        if self.offset != unsent + distance:
            raise BitstreamError("coded levels: expected the shortest end of a lane")
        return self.read - 8 + length


def lanes(plane: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The halves of a plane; lane 1 has the odd one."""
    half = len(plane) // 2
    return plane[:half], plane[half:]


def encode(q: Levels, levels: int) -> bytes:
    """Code an array of levels 0..levels-1, of any shape, in raster order."""
    encoders = Encoder(), Encoder()
    alive = q.ravel().tolist()
    for plane in range(levels - 1):
        for encoder, half in zip(encoders, lanes(alive), strict=True):
            model = Model()
            for value in half:
                encoder.encode(int(value > plane), model)
        alive = [value for value in alive if value > plane]
    forwards, backwards = (encoder.finish() for encoder in encoders)
    return forwards + backwards[::-1]


def decode(data: bytes, count: int, levels: int) -> Levels:
    """The levels that `encode` turned into exactly these bytes, or BitstreamError."""
    decoders = Decoder(data), Decoder(data[::-1])
    q = np.zeros(count, np.uint8)
    alive = list(range(count))
    for plane in range(levels - 1):
        for decoder, half in zip(decoders, lanes(alive), strict=True):
            model = Model()
            for at in half:
                q[at] = plane + decoder.decode(model)
        alive = [at for at in alive if q[at] > plane]
    used = sum(decoder.finish() for decoder in decoders)
    if used != len(data):
        raise BitstreamError(f"coded levels: expected {used} bytes, got {len(data)}")
    return q
