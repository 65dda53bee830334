"""The rANS coder: the kernel is the reference, nothing but an encoder's bytes is accepted, little is wasted."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import _kernel, rans
from common.errors import BitstreamError

DECODERS = [rans.Decoder, rans.FastDecoder]


class Case(NamedTuple):
    """Symbols, and tables that expect them."""

    tables: rans.Tables
    index: NDArray[np.uint32]
    symbols: NDArray[np.uint8]


def tables(rng: np.random.Generator, count: int, symbols: int) -> rans.Tables:
    """From even to as uneven as frequencies can be; some symbols cannot be coded."""
    weights = rng.exponential(1, (count, symbols)) ** rng.choice([0.5, 2, 8], (count, 1))
    weights *= rng.random((count, symbols)) < 0.8
    sizes = np.floor(weights / (weights.sum(axis=1, keepdims=True) + 1e-30) * rans.TOTAL).astype(np.int64)
    sizes[np.arange(count), rng.integers(symbols, size=count)] += rans.TOTAL - sizes.sum(axis=1)
    return rans.Tables(sizes.astype(np.uint16))


def case(seed: int, symbols: int, count: int) -> Case:
    rng = np.random.default_rng(seed)
    known = tables(rng, int(rng.integers(1, 40)), symbols)
    index = rng.integers(len(known.frequencies), size=count).astype(np.uint32)
    slots = rng.integers(rans.TOTAL, size=count)
    return Case(known, index, (known.ends[index] <= slots[:, None]).sum(axis=1).astype(np.uint8))


cases = st.builds(case, st.integers(0, 2**32), st.integers(2, 16), st.integers(0, 200))


@pytest.fixture(autouse=True, params=[True, False], ids=["vector", "scalar"])
def vector(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with vector instructions, if this machine has them, and without."""
    before = _kernel.rans_vector(request.param)
    yield
    _kernel.rans_vector(before)


@given(cases, st.lists(st.integers(0, 30), max_size=6), st.integers(1, 14))
def test_what_was_put_is_taken_in_any_portions(c: Case, portions: list[int], bits: int) -> None:
    values = np.arange(9) * 1717 % (1 << bits)
    encoder = rans.Encoder(c.tables)
    encoder.put(c.symbols, c.index)
    encoder.raw(values, bits)
    assert rans.encode(c.symbols, c.index, c.tables, values, bits) == encoder.finish()
    encoder.put(c.symbols[:5], c.index[:5])
    data = encoder.finish()
    assert _kernel.rans_write(np.concatenate(encoder.parts)) == data
    for kind in DECODERS:
        decoder, cuts = kind(data, c.tables), np.cumsum(portions).clip(0, len(c.index)).tolist()
        taken = [decoder.take(part) for part in np.split(c.index, cuts)]
        assert np.array_equal(np.concatenate(taken), c.symbols)
        assert np.array_equal(decoder.raw(9, bits), values)
        assert np.array_equal(decoder.take(c.index[:5]), c.symbols[:5])
        decoder.end()


@given(cases)
def test_four_lanes_cost_sixteen_bytes_at_most_and_their_steps_nothing(c: Case) -> None:
    data = rans.encode(c.symbols, c.index, c.tables)
    assert len(data) <= rans.OPENING + 1.001 * c.tables.bits(c.symbols, c.index) / 8


def test_a_long_stream_is_as_long_as_its_tables_say() -> None:
    c = case(5, 4, 100_000)
    ideal = c.tables.bits(c.symbols, c.index) / 8
    assert ideal < len(rans.encode(c.symbols, c.index, c.tables)) < 1.0005 * ideal + rans.OPENING


@given(cases, st.binary(min_size=1, max_size=400), st.booleans())
def test_what_is_accepted_is_what_an_encoder_writes(c: Case, noise: bytes, damaged: bool) -> None:
    data = rans.encode(c.symbols, c.index, c.tables)
    if damaged:
        at = noise[0] % len(data)
        data = (data[:at] + noise + data[at + len(noise) // 2 :])[: len(data) + noise[-1] % 3]
    else:
        data = noise
    outcomes = [outcome(kind, data, c) for kind in DECODERS]
    assert outcomes[0] == outcomes[1]
    if not outcomes[0].startswith(b"!"):
        symbols = np.frombuffer(outcomes[0], np.uint8)
        assert rans.encode(symbols, c.index, c.tables) == data


def outcome(kind: type[rans.Decoder] | type[rans.FastDecoder], data: bytes, c: Case) -> bytes:
    """What was taken, or the message."""
    try:
        decoder = kind(data, c.tables)
        symbols = decoder.take(c.index)
        decoder.end()
    except BitstreamError as error:
        return b"!" + str(error).encode()
    return symbols.tobytes()


@pytest.mark.parametrize("kind", DECODERS)
def test_cut_and_lengthened_streams_are_refused(kind: type[rans.Decoder] | type[rans.FastDecoder]) -> None:
    c = case(3, 7, 150)
    data = rans.encode(c.symbols, c.index, c.tables)
    for wrong in (b"", data[:15], data[:-1], data[:-2], data + b"\0\0", data[2:], bytes(16), b"\xff" * 16):
        with pytest.raises(BitstreamError, match="rANS stream: expected"):
            decoder = kind(wrong, c.tables)
            decoder.take(c.index)
            decoder.end()


@pytest.mark.parametrize("kind", DECODERS)
def test_a_stream_is_not_over_before_its_end(kind: type[rans.Decoder] | type[rans.FastDecoder]) -> None:
    c = case(4, 5, 150)
    decoder = kind(rans.encode(c.symbols, c.index, c.tables), c.tables)
    decoder.take(c.index[:-3])
    with pytest.raises(BitstreamError):
        decoder.end()


@pytest.mark.parametrize("kind", DECODERS)
def test_nothing_is_sixteen_bytes(kind: type[rans.Decoder] | type[rans.FastDecoder]) -> None:
    c = case(0, 2, 0)
    data = rans.encode(c.symbols, c.index, c.tables)
    assert data == bytes.fromhex("00010000" * 4)
    kind(data, c.tables).end()


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (np.full((2, 4), 4096), r"expected uint16 \[T, S\], got int64"),
        (np.full(4, 4096, np.uint16), r"expected uint16 \[T, S\], got uint16 \[4\]"),
        (np.full((1, 1), 16384, np.uint16), "rows of 2..16"),
        (np.full((1, 32), 512, np.uint16), "rows of 2..16"),
        (np.zeros((0, 4), np.uint16), r"1\.\.65536 rows"),
        (np.array([[16383, 1], [16383, 2]], np.uint16), "sum to 16384, row 1 has 16385"),
        (np.array([[49152, 32768]], np.uint16), "row 0 has 81920"),
    ],
)
def test_bad_tables_are_named(frequencies: NDArray[np.uint16], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rans.Tables(frequencies)


def test_what_a_table_has_no_room_for_cannot_be_coded() -> None:
    known = rans.Tables(np.array([[16384, 0, 0]], np.uint16))
    assert rans.encode(np.zeros(1000, np.uint8), np.zeros(1000, np.uint32), known) == bytes.fromhex("00010000" * 4)
    for symbol in (1, 2, 3):
        with pytest.raises(ValueError, match="one has frequency 0"):
            rans.encode(np.array([0, symbol], np.uint8), np.zeros(2, np.uint32), known)
    with pytest.raises(ValueError, match="1 has frequency 0"):
        rans.Encoder(known).put(np.array([0, 1], np.uint8), np.zeros(2, np.uint32))
    for part in (5, 16384 | 1 << 16, 1 | 16384 << 16, 0xFFFFFFFF):
        with pytest.raises(ValueError, match="parts: expected"):
            _kernel.rans_write(np.array([part], np.uint32))


def test_the_kernel_checks_what_it_is_given() -> None:
    c = case(1, 4, 50)
    data = rans.encode(c.symbols, c.index, c.tables)
    decoder, rows = rans.FastDecoder(data, c.tables), c.tables.rows
    to = np.empty(50, np.uint8)
    with pytest.raises(ValueError, match="index: expected 50 numbers below"):
        _kernel.rans_take(decoder.state, data, rows, 4, c.index + np.uint32(1 << 20), to)
    with pytest.raises(ValueError, match="index: expected"):
        _kernel.rans_take(decoder.state, data, rows, 4, c.index[:-1], to)
    with pytest.raises(ValueError, match="rows: expected"):
        _kernel.rans_take(decoder.state, data, rows[:-1], 4, c.index, to)
    with pytest.raises(ValueError, match="rows: expected"):
        _kernel.rans_take(decoder.state, data, rows, 5, c.index, to)
    with pytest.raises(ValueError, match="data: expected 16 bytes"):
        _kernel.rans_take(decoder.state, data[:14], rows, 4, c.index, to)
    with pytest.raises(ValueError, match="state: six numbers"):
        _kernel.rans_take(decoder.state[:-1], data, rows, 4, c.index, to)
    with pytest.raises(ValueError, match="symbols: expected numbers below 4"):
        rans.encode(c.symbols + np.uint8(4), c.index, c.tables)
    with pytest.raises(ValueError, match="index: expected 50 numbers below"):
        rans.encode(c.symbols, c.index + np.uint32(1 << 20), c.tables)
    for bits in (0, 15):
        with pytest.raises(ValueError, match=r"bits: expected 1\.\.14"):
            rans.encode(c.symbols, c.index, c.tables, [0], bits)
        with pytest.raises(ValueError, match=r"bits: expected 1\.\.14"):
            decoder.raw(1, bits)
