"""Static-table rANS (Duda): the reference that rans.c must equal byte for byte, and Python's way to it.

Read it beside docs/bitstream.md, "rANS". Frequencies are integers that sum to 2^14 and come from a bundle; nothing is
ever derived from floating point. A stream is a stack: what is put last is coded first, so an encoder lists what is put
and `finish` codes the list from its end, and a decoder takes the symbols in the order they were put. Four lanes take
turns, counted through the whole stream; how symbols are divided into calls of `put` and `take` leaves no trace in it.
A short stream may have one lane alone, which saves the bytes of the others; both sides know that beforehand.

`Encoder` and `Decoder` are plain Python; `encode` and `FastDecoder` do the same by the kernel. C code that models
contexts by itself uses rans.h.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel
from common.errors import BitstreamError

LANES = 4
BITS = 14
TOTAL = 1 << BITS
"""What the frequencies of a table sum to."""
LOW = 1 << 16
"""A state is LOW to 2^32 - 1 between symbols; words are 16 bits."""
STATE = 4
"""Bytes of a lane at the front of a stream."""
OPENING = STATE * LANES
"""Of all four."""
MOST_SYMBOLS = 16
MOST_TABLES = 1 << 16

Symbols = NDArray[np.uint8]
Index = NDArray[np.integer]
Parts = NDArray[np.uint32]


class Tables:
    """Integer frequencies uint16 [T, S] with 2 <= S <= 16, each row summing to 2^14, in the forms that coders read.

    A symbol of frequency 0 cannot be coded under its row. Raises ValueError.
    """

    def __init__(self, frequencies: NDArray[np.uint16]) -> None:
        shape = frequencies.shape
        if frequencies.dtype != np.uint16 or len(shape) != 2:
            raise ValueError(f"frequencies: expected uint16 [T, S], got {frequencies.dtype} {list(shape)}")
        if not (1 <= shape[0] <= MOST_TABLES and 2 <= shape[1] <= MOST_SYMBOLS):
            raise ValueError(f"frequencies: expected 1..{MOST_TABLES} rows of 2..{MOST_SYMBOLS}, got {list(shape)}")
        ends = frequencies.cumsum(axis=1, dtype=np.uint32)
        if (ends[:, -1] != TOTAL).any():
            wrong = int(np.argmax(ends[:, -1] != TOTAL))
            raise ValueError(f"frequencies: expected rows that sum to {TOTAL}, row {wrong} has {ends[wrong, -1]}")
        self.frequencies = frequencies
        self.ends = ends
        self.stride = next(stride for stride in (4, 8, 16) if stride >= shape[1])
        self.rows = np.full(1 + shape[0] * self.stride, TOTAL, np.uint16)
        """What the kernel reads (rans.h): one number, then each row's ends, filled up with 2^14 to the stride."""
        self.rows[1:].reshape(shape[0], self.stride)[:, : shape[1]] = ends

    def parts(self, symbols: Symbols, index: Index) -> Parts:
        """The part of 2^14 of each symbol [n] under its row: start | size << 16. ValueError if one has none."""
        sizes = self.frequencies[index, symbols].astype(np.uint32)
        if not sizes.all():
            raise ValueError(f"symbols: {symbols[np.argmin(sizes)]} has frequency 0 in its table")
        starts: Parts = self.ends[index, symbols] - sizes
        return starts | sizes << np.uint32(16)

    def bits(self, symbols: Symbols, index: Index) -> float:
        """The ideal length of the symbols [n] under their rows: the sum of -log2(frequency / 2^14)."""
        return float(-np.log2(self.frequencies[index, symbols] / TOTAL).sum())


def raw_parts(values: Iterable[int], bits: int) -> Parts:
    """Values of 1 to 14 bits, all as likely: parts of one size."""
    if not 1 <= bits <= BITS:
        raise ValueError(f"bits: expected 1..{BITS}, got {bits}")
    shift = np.uint32(BITS - bits)
    starts = np.asarray(values, np.uint32) << shift & np.uint32(TOTAL - 1)
    parts: Parts = starts | np.uint32(1 << (int(shift) + 16))
    return parts


class Encoder:
    """Lists what is put; `finish` turns the list into bytes."""

    def __init__(self, tables: Tables, lanes: int = LANES) -> None:
        self.tables, self.lanes = tables, lanes
        self.parts: list[Parts] = [np.zeros(0, np.uint32)]

    def put(self, symbols: Symbols, index: Index) -> None:
        """Symbols [n], each under the table of that index [n]."""
        self.parts.append(self.tables.parts(symbols, index))

    def raw(self, values: Iterable[int], bits: int) -> None:
        """Values of 1 to 14 bits each."""
        self.parts.append(raw_parts(values, bits))

    def finish(self) -> bytes:
        """The whole stream."""
        states, words = [LOW] * self.lanes, bytearray()
        parts = np.concatenate(self.parts).tolist()
        for at in range(len(parts) - 1, -1, -1):
            start, size, x = parts[at] & 0xFFFF, parts[at] >> 16, states[at % self.lanes]
            if x >= size << (32 - BITS):
                words += bytes([x & 0xFF, x >> 8 & 0xFF])
                x >>= 16
            states[at % self.lanes] = (x // size << BITS) + x % size + start
        return b"".join(x.to_bytes(4, "big") for x in states) + words[::-1]


class Decoder:
    """Takes what was put, in any portions. What is taken means nothing until `end` has not raised."""

    def __init__(self, data: bytes, tables: Tables, lanes: int = LANES) -> None:
        check_opening(data, lanes)
        self.data, self.tables = data, tables
        self.states = [int.from_bytes(data[STATE * lane : STATE * (lane + 1)], "big") for lane in range(lanes)]
        self.lane, self.read = 0, STATE * lanes

    def take(self, index: Index) -> Symbols:
        """The next symbols [n], each under the table of that index [n]."""
        symbols = np.empty(len(index), np.uint8)
        for at, row in enumerate(index.tolist()):
            slot, ends = self.states[self.lane] % TOTAL, self.tables.ends[row]
            symbol = int(np.searchsorted(ends, slot, side="right"))
            size = int(self.tables.frequencies[row, symbol])
            self.advance(slot, int(ends[symbol]) - size, size)
            symbols[at] = symbol
        return symbols

    def raw(self, count: int, bits: int) -> NDArray[np.uint16]:
        """The next raw values."""
        size = TOTAL >> bits
        values = np.empty(count, np.uint16)
        for at in range(count):
            slot = self.states[self.lane] % TOTAL
            values[at] = slot // size
            self.advance(slot, slot // size * size, size)
        return values

    def advance(self, slot: int, start: int, size: int) -> None:
        """Undo one step of the encoder. Beyond the end the last word is read again; `end` will say so."""
        x = size * (self.states[self.lane] >> BITS) + slot - start
        if x < LOW:
            at = min(self.read, len(self.data) - 2)
            x = x << 16 | int.from_bytes(self.data[at : at + 2], "big")
            self.read += 2
        self.states[self.lane] = x
        self.lane = (self.lane + 1) % len(self.states)

    def end(self) -> None:
        """Raise BitstreamError unless every word was used and every lane is back where its encoder began."""
        check_end(self.states, self.read, len(self.data))


class FastDecoder:
    """The same by the kernel."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        check_opening(data)
        self.data, self.tables = data, tables
        states = np.frombuffer(data, ">u4", LANES)
        self.state = np.array([*states, 0, OPENING // 2], np.uint32)  # lanes, whose turn it is, words read

    def take(self, index: Index) -> Symbols:
        """The next symbols [n], each under the table of that index [n]."""
        symbols = np.empty(len(index), np.uint8)
        index = np.require(index, np.uint32, ["C", "A"])
        _kernel.rans_take(self.state, self.data, self.tables.rows, self.tables.stride, index, symbols)
        return symbols

    def raw(self, count: int, bits: int) -> NDArray[np.uint16]:
        """The next raw values."""
        values = np.empty(count, np.uint16)
        _kernel.rans_take_raw(self.state, self.data, values, bits)
        return values

    def end(self) -> None:
        """Raise BitstreamError unless every word was used and every lane is back where its encoder began."""
        *states, _, read = self.state.tolist()
        check_end(states, 2 * read, len(self.data))


def encode(symbols: Symbols, index: Index, tables: Tables, values: Iterable[int] = (), bits: int = BITS) -> bytes:
    """Symbols [n], each under the table of that index [n], then raw values, by the kernel."""
    symbols, index = np.require(symbols, np.uint8, ["C", "A"]), np.require(index, np.uint32, ["C", "A"])
    raw = np.array(values, np.uint16)
    return _kernel.rans_encode(symbols, index, tables.rows, tables.stride, raw, bits)


def check_opening(data: bytes, lanes: int = LANES) -> None:
    """Raise BitstreamError unless data `opens`."""
    if not opens(data, lanes):
        raise BitstreamError(
            f"rANS stream: expected {lanes} states of 2^16 or more and whole words, got {len(data)} bytes"
        )


def opens(data: bytes, lanes: int = LANES) -> bool:
    """Whether data has whole words and a state of each lane."""
    return len(data) % 2 == 0 and len(data) >= STATE * lanes and bool(np.frombuffer(data, ">u4", lanes).min() >= LOW)


def check_end(states: Iterable[int], read: int, length: int) -> None:
    """Raise BitstreamError unless this is the end of a stream."""
    if read != length:
        raise BitstreamError(f"rANS stream: expected {read} bytes, got {length}")
    if any(state != LOW for state in states):
        raise BitstreamError("rANS stream: expected every lane to end where it began")
