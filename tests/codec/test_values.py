"""The coder of values: the kernel is the reference, only an encoder's bytes are accepted, silent rows cost nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import _kernel, rans, values
from common.codec.values import ESCAPE, MOST, RUN, Decoder, ReferenceDecoder, Rows, Segment
from common.errors import BitstreamError
from tests.codec.latent_samples import rows

DECODERS = [Decoder, ReferenceDecoder]
SCALES = [0.05, 0.15, 0.5, 1.0, 3.0, 20.0, 900.0, 2e5]
ROWS = rows(SCALES)
SILENT = 0
Case = list[Segment]


def segment(rng: np.random.Generator, count: int, wild: float = 0.02) -> Segment:
    """Values as their rows expect them, but for some."""
    index = rng.integers(len(SCALES), size=count).astype(np.uint16)
    scale = np.array(SCALES)[index] * np.where(rng.random(count) < wild, 50, 1)
    found = np.clip(np.rint(rng.laplace(size=count) * scale), -MOST, MOST).astype(np.int32)
    return Segment(np.where(index == SILENT, 0, found).astype(np.int32), index)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = draw(st.lists(st.integers(0, 60), min_size=1, max_size=3))
    return [segment(rng, count, draw(st.sampled_from([0, 0.02, 0.5]))) for count in counts]


def taken(kind: Any, data: bytes, case: Case) -> list[NDArray[np.int32]]:
    decoder = kind(data, ROWS)
    found = [decoder.take(part.index) for part in case]
    decoder.end()
    return found


@given(cases())
def test_the_kernel_is_the_reference_and_values_come_back(case: Case) -> None:
    data = ROWS.encode(case)
    assert data == values.encode_reference(ROWS, case)
    for kind in DECODERS:
        assert all(np.array_equal(a, b.values) for a, b in zip(taken(kind, data, case), case, strict=True))


@pytest.mark.parametrize("count", [RUN - 1, RUN, RUN + 1, 3 * RUN + 77])
def test_segments_are_coded_in_runs_and_may_be_taken_in_runs(count: int) -> None:
    case = [segment(np.random.default_rng(count), 100), segment(np.random.default_rng(count + 1), count)]
    data = ROWS.encode(case)
    assert data == values.encode_reference(ROWS, case)
    assert np.array_equal(taken(ReferenceDecoder, data, case)[1], case[1].values)
    decoder = Decoder(data, ROWS)
    decoder.take(case[0].index)
    parts = [decoder.take(case[1].index[at : at + RUN]) for at in range(0, count, RUN)]
    decoder.end()
    assert np.array_equal(np.concatenate(parts), case[1].values)


def test_vector_instructions_change_nothing() -> None:
    case = [segment(np.random.default_rng(4), 5000)]
    data, before = ROWS.encode(case), _kernel.rans_vector(False)
    try:
        assert np.array_equal(taken(Decoder, data, case)[0], case[0].values)
    finally:
        _kernel.rans_vector(before)


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=200)
def test_damage_is_refused_or_another_segment_s_code(case: Case, seed: int) -> None:
    rng, data = np.random.default_rng(seed), bytearray(ROWS.encode(case))
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    try:
        found = taken(Decoder, bytes(data), case)
    except BitstreamError:
        with pytest.raises(BitstreamError):
            taken(ReferenceDecoder, bytes(data), case)
    else:
        again = [Segment(part, known.index) for part, known in zip(found, case, strict=True)]
        assert ROWS.encode(again) == bytes(data)
        assert all(
            np.array_equal(*pair) for pair in zip(found, taken(ReferenceDecoder, bytes(data), case), strict=True)
        )


@given(st.binary(max_size=200), cases())
def test_noise_is_refused_by_both_or_by_neither(noise: bytes, case: Case) -> None:
    outcomes = []
    for kind in DECODERS:
        try:
            outcomes.append(b"".join(part.tobytes() for part in taken(kind, noise + bytes(len(noise) % 2), case)))
        except BitstreamError:
            outcomes.append(b"!")
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("change", [lambda d: d[:-2], lambda d: d + b"\0\0", lambda d: d[:14], lambda d: b""])
def test_cut_and_lengthened_streams_are_refused(kind: Any, change: Any) -> None:
    case = [segment(np.random.default_rng(1), 300)]
    with pytest.raises(BitstreamError, match="rANS stream: expected"):
        taken(kind, change(ROWS.encode(case)), case)


def test_silent_rows_are_not_in_the_stream() -> None:
    some = segment(np.random.default_rng(2), 50)
    silent = Segment(np.zeros(10_000, np.int32), np.zeros(10_000, np.uint16))
    assert ROWS.encode([silent]) == bytes.fromhex("00010000" * 4)
    merged = Segment(np.concatenate([some.values, silent.values]), np.concatenate([some.index, silent.index]))
    assert ROWS.encode([merged]) == ROWS.encode([some])


@pytest.mark.parametrize("row", range(1, len(SCALES)))
def test_sizes_up_to_the_largest_come_back(row: int) -> None:
    near = 15 << int(ROWS.bits[row]) >> 1
    sizes = np.array(
        [0, 1, 2, near - 1, near, near + 1, near + 2, 16383, 16390, 16391, 16392, 32774, 65543, MOST - 1, MOST]
    )
    both = np.concatenate([sizes, -sizes]).astype(np.int32)
    case = [Segment(both, np.full(both.size, row, np.uint16))]
    for kind in DECODERS:
        assert np.array_equal(taken(kind, ROWS.encode(case), case)[0], both)
    assert values.encode_reference(ROWS, case) == ROWS.encode(case)


@pytest.mark.parametrize("value", [MOST + 1, -MOST - 1, 2**31 - 1, -(2**31)])
def test_larger_sizes_and_sizes_in_silent_rows_cannot_be_coded(value: int) -> None:
    for part in (
        Segment(np.array([value], np.int32), np.array([3], np.uint16)),
        Segment(np.array([1], np.int32), np.array([SILENT], np.uint16)),
    ):
        for encode in (ROWS.encode, lambda case: values.encode_reference(ROWS, case)):
            with pytest.raises(ValueError, match="values: expected sizes up to 1048576, and 0 in silent rows"):
                encode([part])


@pytest.mark.parametrize("steps", [[(42, 6)], [(63, 6)], [(40, 6), (63, 6), (16383, 14)]])
def test_a_stream_that_says_more_is_refused(steps: list[tuple[int, int]]) -> None:
    """A length of 21 digits and more, or a size beyond 2^20."""
    encoder = rans.Encoder(ROWS.tables)
    encoder.put(np.array([ESCAPE], np.uint8), np.array([3]))
    for value, bits in steps:
        encoder.raw([value], bits)
    for kind in DECODERS:
        with pytest.raises(BitstreamError, match="value: expected a size up to 1048576"):
            taken(kind, encoder.finish(), [Segment(np.zeros(1, np.int32), np.array([3], np.uint16))])


def test_streams_are_as_long_as_their_rows_say() -> None:
    """Within the lanes' 16 bytes and a thousandth."""
    part = segment(np.random.default_rng(0), 20_000, wild=0)
    alive = part.index != SILENT
    known, found = part.index[alive], part.values[alive]
    symbols = values.symbols(found, ROWS.bits[known])
    few = symbols < ESCAPE
    case = [Segment(found[few], known[few])]
    ideal = ROWS.tables.bits(symbols[few], known[few]) + ROWS.bits[known[few]].sum()
    assert ideal < 8 * len(ROWS.encode(case)) < 1.001 * ideal + 8 * rans.OPENING


@pytest.mark.parametrize(
    ("bits", "frequencies", "message"),
    [
        (ROWS.bits[:-1], ROWS.tables.frequencies, r"bits: expected uint8 \[8\] up to 14"),
        (ROWS.bits.astype(int), ROWS.tables.frequencies, "bits: expected uint8"),
        (np.full(8, 15, np.uint8), ROWS.tables.frequencies, "up to 14"),
        (ROWS.bits, ROWS.tables.frequencies + np.uint16(1), "sum to 16384"),
        (ROWS.bits, np.full((8, 8), 2048, np.uint16), "frequencies: expected rows of 16, got 8"),
        (np.ones(8, np.uint8), ROWS.tables.frequencies, "every symbol to have one"),
        (np.zeros(1, np.uint8), np.array([[0] * 8 + [1 << 14] + [0] * 7], np.uint16), "every symbol to have one"),
    ],
)
def test_rows_that_do_not_fit_are_named(bits: Any, frequencies: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rows(bits, frequencies)


def test_the_kernel_checks_what_it_is_given() -> None:
    part = segment(np.random.default_rng(3), 40)
    lengths = np.array([40], np.uint32)
    good: list[Any] = [part.values, part.index, lengths, ROWS.tables.rows, ROWS.bits]
    data = _kernel.values_encode(*good)
    for at, value, message in (
        (0, part.values[1:], "index: expected a number below 8 for each value"),
        (1, part.index + np.uint16(8), "index: expected"),
        (2, lengths + np.uint32(1), "lengths: expected them to sum to 40"),
        (3, ROWS.tables.rows[:-1], "rows: expected"),
        (3, ROWS.tables.rows[:-16], "bits: expected numbers up to 14, one for each row"),
        (4, ROWS.bits + np.uint8(9), "bits: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            _kernel.values_encode(*good[:at], value, *good[at + 1 :])
    state, to = Decoder(data, ROWS).state, np.empty(40, np.int32)
    for wrong, message in (
        ((state[:5].copy(), data, part.index, ROWS.tables.rows, ROWS.bits, to), "state: six numbers"),
        ((state, data[:14], part.index, ROWS.tables.rows, ROWS.bits, to), "data: expected 16 bytes"),
        ((state, data, part.index, ROWS.tables.rows, ROWS.bits, to[1:]), "index: expected"),
        ((state, data, part.index, ROWS.tables.rows, ROWS.bits[1:], to), "bits: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            _kernel.values_take(*wrong)
