"""Integers around zero to a rANS stream and back: the reference that values.c must equal, and Python's way to it.

Each value is coded under a row, which both sides know beforehand. A row says how many low bits go as they are, and how
often each of sixteen symbols comes for the rest:

    high = floor((v + half) / 2^bits)   half is 2^bits / 2, rounded down
    symbol: high + 7 for -7 to 7, 15 for whatever is larger: an escape, with the excess in an exponential Golomb code

A row whose frequency of 0 is all there is and that has no low bits is *silent*: its values are 0 and not in the stream.
Values come in segments (rows of the second may depend on the values of the first), segments in runs of 4096: the
symbols of a run, then what they do not say. docs/bitstream.md, "Values", is the normative text.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, rans
from common.codec.container import check
from common.errors import BitstreamError

Values = NDArray[np.int32]
Index = NDArray[np.uint16]
Lengths = NDArray[np.uint32]

SYMBOLS = rans.MOST_SYMBOLS
ESCAPE = SYMBOLS - 1
CENTRE = 7
"""The symbol of 0, and the largest size that has one of its own."""
MOST = 1 << 20
"""The largest size of a value."""
RUN = 4096
LENGTH = 6
"""Bits that say, of an escape, how long it is and whether it is negative."""
MOST_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Segment:
    """Values [n] and the row of each [n]."""

    values: Values
    index: Index


class Joined:
    """Segments of these lengths, one behind the other as the kernel takes them: what is `put` is copied just once."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = np.array(lengths, np.uint32)
        self.values, self.index = np.empty(sum(lengths), np.int32), np.empty(sum(lengths), np.uint16)

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Self:
        """Others, copied."""
        joined = cls([len(segment.values) for segment in segments])
        for place, segment in zip(joined, segments, strict=True):
            place.values[:], place.index[:] = segment.values, segment.index
        return joined

    def __iter__(self) -> Iterator[Segment]:
        """Views, to be written to."""
        for begin, end in pairwise(accumulate(self.lengths.tolist(), initial=0)):
            yield Segment(self.values[begin:end], self.index[begin:end])


class Rows:
    """The rows that values are coded under: `bits` uint8 [R], up to 14, and `frequencies` uint16 [R, 16].

    Every symbol has a frequency, but in silent rows. Raises ValueError.
    """

    def __init__(self, bits: NDArray[np.uint8], frequencies: NDArray[np.uint16]) -> None:
        self.tables = rans.Tables(frequencies)
        if frequencies.shape[1] != SYMBOLS:
            raise ValueError(f"frequencies: expected rows of {SYMBOLS}, got {frequencies.shape[1]}")
        if bits.dtype != np.uint8 or bits.shape != frequencies.shape[:1] or bits.max() > rans.BITS:
            expected = f"uint8 [{len(frequencies)}] up to {rans.BITS}"
            raise ValueError(f"bits: expected {expected}, got {bits.dtype} {list(bits.shape)}")
        self.bits = np.require(bits, np.uint8, ["C"])
        self.silent = (frequencies[:, CENTRE] == rans.TOTAL) & (bits == 0)
        if not frequencies[~self.silent].all():
            raise ValueError("frequencies: expected every symbol to have one, or 0 to have all and no low bits")

    def encode(self, segments: Iterable[Segment]) -> bytes:
        """The stream of these values, at most 2^20 in size and 0 in silent rows, by the kernel."""
        all_ = segments if isinstance(segments, Joined) else Joined.of(list(segments))
        return _kernel.values_encode(all_.values, all_.index, all_.lengths, self.tables.rows, self.bits)

    def encode_each(self, values: Values, index: Index, lengths: Lengths) -> list[bytes]:
        """Streams of one lane, one for each row of `lengths` [streams, segments]; values and rows of all in a row."""
        values, index = np.require(values, np.int32, ["C", "A"]), np.require(index, np.uint16, ["C", "A"])
        ends = np.empty(len(lengths), np.uint32)
        lengths = np.require(lengths, np.uint32, ["C"])
        data = _kernel.values_encode_each(values, index, lengths, self.tables.rows, self.bits, ends)
        return [data[begin:end] for begin, end in pairwise([0, *ends.tolist()])]


class Decoder:
    """Takes segments in order, each as a whole or in multiples of 4096, by the kernel.

    What is taken means nothing until `end` has not raised.
    """

    def __init__(self, data: bytes, rows: Rows) -> None:
        rans.check_opening(data)
        self.data, self.rows = data, rows
        states = np.frombuffer(data, ">u4", rans.LANES)
        self.state = np.array([*states, 0, rans.OPENING // 2], np.uint32)  # lanes, whose turn it is, words read

    def take(self, index: Index) -> Values:
        """The next values [n], each under the row of that index [n]. Raises BitstreamError."""
        values = np.empty(len(index), np.int32)
        index = np.require(index, np.uint16, ["C", "A"])
        rows = self.rows
        sound = _kernel.values_take(self.state, self.data, index, rows.tables.rows, rows.bits, values)
        check(sound, "value", f"a size up to {MOST}", "a larger one")
        return values

    def end(self) -> None:
        """Raise BitstreamError unless every word was used and every lane is back where its encoder began."""
        *states, _, read = self.state.tolist()
        rans.check_end(states, 2 * read, len(self.data))


class EachDecoder:
    """Takes segments of many streams of one lane at once, in order, each as a whole, by the kernel.

    The streams have to `open`. What is taken of one means nothing unless `sound` says that it was one.
    """

    def __init__(self, streams: Sequence[bytes], rows: Rows) -> None:
        self.data, self.rows = b"".join(streams), rows
        self.ends = np.cumsum([len(stream) for stream in streams], dtype=np.uint32)
        self.state = np.full((len(streams), rans.LANES + 2), rans.LOW, np.uint32)  # as of four lanes: the first counts
        self.state[:, 0] = [int.from_bytes(stream[: rans.STATE], "big") for stream in streams]
        self.state[:, rans.LANES :] = 0, rans.STATE // 2
        self.legal = np.ones(len(streams), np.uint8)

    def take(self, index: Index, lengths: Lengths) -> Values:
        """The next values, `lengths` [streams] of each stream, each under the row of that index, all in a row."""
        values = np.zeros(len(index), np.int32)
        index, lengths = np.require(index, np.uint16, ["C", "A"]), np.require(lengths, np.uint32, ["C"])
        rows = self.rows
        _kernel.values_take_each(
            self.state, self.data, self.ends, index, lengths, rows.tables.rows, rows.bits, values, self.legal
        )
        return values

    def sound(self) -> NDArray[np.bool_]:
        """Of each stream [streams], whether every word was used and its lane is back where its encoder began."""
        read = 2 * self.state[:, -1].astype(np.int64)
        whole = read == np.diff(self.ends.astype(np.int64), prepend=0)
        sound: NDArray[np.bool_] = whole & (self.state[:, 0] == rans.LOW) & (self.legal != 0)
        return sound


# ---- Reference -------------------------------------------------------------------------------------------------


def encode_reference(rows: Rows, segments: Iterable[Segment], lanes: int = rans.LANES) -> bytes:
    """What `Rows.encode` gives."""
    encoder = rans.Encoder(rows.tables, lanes)
    for segment in segments:
        for run in runs(len(segment.values)):
            values, index = segment.values[run], segment.index[run]
            silent = rows.silent[index]
            if values[silent].any() or (np.abs(values.astype(np.int64)) > MOST).any():
                raise ValueError(f"values: expected sizes up to {MOST}, and 0 in silent rows")
            values, index = values[~silent], index[~silent]
            encoder.put(symbols(values, rows.bits[index]), index)
            put_rest(encoder, values, rows.bits[index])
    return encoder.finish()


def runs(count: int) -> Iterator[slice]:
    """The runs of so many values."""
    return (slice(at, min(at + RUN, count)) for at in range(0, count, RUN))


def highs(values: Values, bits: NDArray[np.uint8]) -> Values:
    """What symbols say of values [n] whose rows have `bits` [n] low bits."""
    shift = bits.astype(np.int32)
    return (values + (1 << shift >> 1)) >> shift


def symbols(values: Values, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Their symbols [n]."""
    high = highs(values, bits)
    return np.where(np.abs(high) <= CENTRE, high + CENTRE, ESCAPE).astype(np.uint8)


def put_rest(encoder: rans.Encoder, values: Values, bits: NDArray[np.uint8]) -> None:
    """What the symbols of a run do not say: value by value, how far beyond the escape it is, then the low bits."""
    for value, high, low_bits in zip(values.tolist(), highs(values, bits).tolist(), bits.tolist(), strict=True):
        if abs(high) > CENTRE:
            beyond = abs(high) - CENTRE
            length = beyond.bit_length() - 1
            encoder.raw([2 * length + (high < 0)], LENGTH)
            if length > rans.BITS:
                encoder.raw([beyond >> rans.BITS], length - rans.BITS)
            if length:
                encoder.raw([beyond], min(length, rans.BITS))
        if low_bits:
            encoder.raw([value + (1 << low_bits >> 1) & (1 << low_bits) - 1], low_bits)


class ReferenceDecoder:
    """What `Decoder` does."""

    def __init__(self, data: bytes, rows: Rows, lanes: int = rans.LANES) -> None:
        self.decoder, self.rows = rans.Decoder(data, rows.tables, lanes), rows

    def take(self, index: Index) -> Values:
        """The next values [n], each under the row of that index [n]. Raises BitstreamError."""
        values = np.zeros(len(index), np.int32)
        for run in runs(len(index)):
            alive = np.flatnonzero(~self.rows.silent[index[run]])
            known = index[run][alive]
            found = self.decoder.take(known).astype(np.int32) - CENTRE
            values[run][alive] = self._rest(found, self.rows.bits[known])
        return values

    def _rest(self, high: Values, bits: NDArray[np.uint8]) -> Values:
        found = []
        for value, low_bits in zip(high.tolist(), bits.tolist(), strict=True):
            if value > CENTRE:
                value = self._beyond()
            if low_bits:
                value = (value << low_bits) + self._raw(low_bits) - (1 << low_bits >> 1)
            check(abs(value) <= MOST, "value", f"a size up to {MOST}", "a larger one")
            found.append(value)
        return np.array(found, np.int32)

    def _beyond(self) -> int:
        length, negative = divmod(self._raw(LENGTH), 2)
        check(length <= MOST_LENGTH, "value", f"a size up to {MOST}", "a larger one")
        beyond = 1
        for bits in (max(0, length - rans.BITS), min(length, rans.BITS)):
            beyond = beyond << bits | (self._raw(bits) if bits else 0)
        return -(CENTRE + beyond) if negative else CENTRE + beyond

    def _raw(self, bits: int) -> int:
        return int(self.decoder.raw(1, bits)[0])

    def end(self) -> None:
        """Raise BitstreamError unless every word was used and every lane is back where its encoder began."""
        self.decoder.end()


def encode_each_reference(rows: Rows, values: Values, index: Index, lengths: Lengths) -> list[bytes]:
    """What `Rows.encode_each` gives."""
    streams, at = [], 0
    for of_stream in lengths.tolist():
        ends = list(accumulate(of_stream, initial=at))
        segments = [Segment(values[begin:end], index[begin:end]) for begin, end in pairwise(ends)]
        streams.append(encode_reference(rows, segments, lanes=1))
        at = ends[-1]
    return streams


class EachReference:
    """What `EachDecoder` does."""

    def __init__(self, streams: Sequence[bytes], rows: Rows) -> None:
        self.decoders: list[ReferenceDecoder | None] = [ReferenceDecoder(stream, rows, 1) for stream in streams]

    def take(self, index: Index, lengths: Lengths) -> Values:
        """The next values."""
        values = np.zeros(len(index), np.int32)
        for number, (begin, end) in enumerate(pairwise(accumulate(lengths.tolist(), initial=0))):
            if decoder := self.decoders[number]:
                try:
                    values[begin:end] = decoder.take(index[begin:end])
                except BitstreamError:
                    self.decoders[number] = None
        return values

    def sound(self) -> NDArray[np.bool_]:
        """Of each stream, whether it was one."""
        return np.array([decoder is not None and _ended(decoder) for decoder in self.decoders])


def _ended(decoder: ReferenceDecoder) -> bool:
    try:
        decoder.end()
    except BitstreamError:
        return False
    return True
