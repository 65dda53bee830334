"""The coefficient coder: its model, its walk, the kernel equal to the reference, hostile bytes."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import _kernel, coefficients, rans
from common.codec.coefficients import BINS, CLASSES, EDGES, ESCAPE, MOST, TOP, Model, Planes
from common.errors import BitstreamError
from tests.codec.transform_samples import Array, model, planes

MODEL = model()


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Array], list[Planes]]:
    """Coefficients of some tensors, from mostly 0 to mostly escapes, and their planes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=3))
    known = [planes(rng, count, blocks) for count, blocks in sizes]
    spread = draw(st.sampled_from([0.2, 0.6, 3.0, 30.0, 4e4]))
    values = [rng.laplace(scale=spread, size=size).astype(np.float32) for size in sizes]
    if draw(st.booleans()):
        for part in values:
            wild = rng.random(part.shape) < 0.1
            part[wild] = rng.choice(np.array([np.nan, np.inf, -np.inf, 0, -0.0, 3e38], np.float32), wild.sum())
    return values, known


def joined(values: list[Array]) -> Array:
    return np.concatenate([part.ravel() for part in values])


def whole(classes: int = 3, shift: int = 0, count: int = 1, blocks: int = 1) -> list[Planes]:
    return [Planes(blocks, np.full(count, classes, np.uint8), np.full(count, shift, np.uint8))]


# ---- Model --------------------------------------------------------------------------------------------------------


def test_64_qualities_halve_the_step() -> None:
    steps = [coefficients.step_of(quality) for quality in (0, 256, 320)]
    assert steps == [16.0, 1.0, 0.5]
    for quality in (-1, 1024):
        with pytest.raises(ValueError, match=rf"quality: expected 0\.\.1023, got {quality}"):
            coefficients.step_of(quality)


@given(st.integers(-32768, 32767), st.integers(0, 1023))
def test_shifts_leave_at_most_four_steps_of_deviation(scale: int, quality: int) -> None:
    """Classes are a quarter of an octave wide, from 2^-2.2 to 4 steps; beyond, a shift takes whole octaves off."""
    (number,), (shift,) = coefficients.classes(np.array([scale]), quality)
    octaves = (scale + quality - 256) / 64
    assert shift == min(14, max(0, np.floor(octaves) - 1))
    assert number == np.clip(np.floor(4 * (octaves - shift) + 141 / 16), 0, CLASSES - 1)
    assert coefficients.classes(np.array([scale + 64]), max(0, quality - 64))[0] == number or quality < 64


@given(st.integers(0, 1 << 15), st.integers(0, 1 << 15))
def test_bins_count_the_edges_that_activity_over_expectation_has_passed(activity: int, expectation: int) -> None:
    ratio = (activity + 256) / (expectation + 256)
    assert coefficients.bins(np.array([activity]), expectation) == sum(ratio >= edge / 64 for edge in EDGES)


def test_activity_stays_in_sixteen_bits() -> None:
    activity, expectation = np.zeros(1, np.int32), 0
    for _ in range(1000):
        activity, expectation = coefficients.advance(activity, expectation, np.array([ESCAPE]), MOST << 8)
    assert activity[0] == expectation <= 1 << 15


@given(cases())
def test_sizes_are_the_thresholds_passed(case: tuple[list[Array], list[Planes]]) -> None:
    y, index = np.abs(np.nan_to_num(case[0][0].ravel(), posinf=4e4)), np.int32(77)
    sizes = MODEL.quantise(y, np.full(y.size, index), 0)
    limits = MODEL.thresholds[index].astype(np.float32)
    for size, value in zip(sizes.tolist(), y.tolist(), strict=True):
        if size < ESCAPE:
            assert size == 0 or value >= limits[size - 1]
            assert value < limits[size]
        else:
            assert value >= limits[-1]
            assert size == min(TOP, max(ESCAPE, int(np.floor(np.float32(value) + np.float32(0.4)))))


def test_values_are_moved_by_their_offset_only_below_the_escape() -> None:
    q, index = np.array([0, 1, -1, 14, -14, 15, -16, 300], np.int32), np.full(8, 33, np.int32)
    offset = MODEL.offset[33].astype(float) / 128
    moved = [0, 1 + offset[1], -1 - offset[1], 14 + offset[14], -14 - offset[14], 15, -16, 300]
    assert MODEL.values(q, index, 0).tolist() == moved
    assert MODEL.values(q, index, 2).tolist() == q.tolist()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("expected", lambda a: a[:-1], r"expected: expected uint16 \[17\], got uint16 \[16\]"),
        ("expected", lambda a: a.astype(np.int32), "expected: expected uint16"),
        ("expected", lambda a: a + np.uint16(1024), "expected: expected numbers up to 1024"),
        ("frequencies", lambda a: a[:-10], r"frequencies: expected uint16 \[170, 16\]"),
        ("frequencies", lambda a: a + np.uint16(1), "sum to 16384"),
        ("frequencies", lambda a: np.eye(1, 16, dtype=np.uint16).repeat(170, 0) << 14, "every symbol to have one"),
        ("offset", lambda a: a[:, 1:], r"offset: expected int8 \[170, 16\]"),
        ("thresholds", lambda a: a[:, ::-1], "thresholds: expected finite rows above 0 that never fall"),
        ("thresholds", lambda a: a * np.float16(np.nan), "thresholds: expected finite"),
        ("thresholds", lambda a: a * np.float16(0), "above 0"),
        ("thresholds", lambda a: a.astype(np.float32), "thresholds: expected float16"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name: str, change: Any, message: str) -> None:
    arrays = {part: getattr(MODEL, part) for part in ("expected", "frequencies", "offset", "thresholds")}
    with pytest.raises(ValueError, match=message):
        Model(**arrays | {name: change(arrays[name])})


def test_a_model_is_checked_by_an_optimising_python_too() -> None:
    program = (
        "from tests.codec.transform_samples import model; from common.codec.coefficients import Model; m = model()\n"
        "try: Model(m.expected, m.frequencies + m.frequencies.dtype.type(1), m.offset, m.thresholds)\n"
        "except ValueError as e: print(e)"
    )
    answer = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True)
    assert "sum to 16384" in answer.stdout


# ---- Coder --------------------------------------------------------------------------------------------------------


@given(cases())
@settings(max_examples=60)
def test_the_kernel_is_the_reference(case: tuple[list[Array], list[Planes]]) -> None:
    values, known = case
    data = MODEL.encode(joined(values), coefficients.flat(known))
    assert coefficients.encode(MODEL, values, known) == data
    back = np.full(joined(values).size, np.nan, np.float32)
    MODEL.decode(data, back, coefficients.flat(known))
    assert np.array_equal(back, joined(coefficients.decode(MODEL, data, known)))


@given(cases())
@settings(max_examples=40)
def test_decoded_values_are_those_of_the_cells(case: tuple[list[Array], list[Planes]]) -> None:
    """Walked once more beside the decoder: each value is what its table says of the size that was quantised."""
    values, known = case
    back = np.empty(joined(values).size, np.float32)
    flat = coefficients.flat(known)
    MODEL.decode(MODEL.encode(joined(values), flat), back, flat)
    expected = []
    for part, tensor in zip(values, known, strict=True):
        walk = coefficients.Walk(MODEL, tensor)
        for plane, index, shift in walk:
            sizes = MODEL.quantise(part[plane], index, shift)
            q = np.where(part[plane] < 0, -sizes, sizes)
            expected.append(MODEL.values(q, index, shift))
            walk.code(np.minimum(sizes >> shift, ESCAPE))
    assert np.array_equal(back, np.concatenate([np.zeros(0, np.float32), *expected]))


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_damage_is_refused_or_another_tensor_s_code(case: tuple[list[Array], list[Planes]], seed: int) -> None:
    values, known = case
    rng = np.random.default_rng(seed)
    data = bytearray(MODEL.encode(joined(values), coefficients.flat(known)))
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    back = np.empty(joined(values).size, np.float32)
    try:
        MODEL.decode(bytes(data), back, coefficients.flat(known))
    except BitstreamError:
        with pytest.raises(BitstreamError):
            coefficients.decode(MODEL, bytes(data), known)
    else:
        assert np.array_equal(back, joined(coefficients.decode(MODEL, bytes(data), known)))


@pytest.mark.parametrize("change", [lambda d: d[:-2], lambda d: d + b"\0\0", lambda d: d[:14], lambda d: b""])
def test_cut_and_lengthened_streams_are_refused(change: Any) -> None:
    values, known = np.linspace(-20, 20, 60, dtype=np.float32), coefficients.flat(whole(blocks=60))
    with pytest.raises(BitstreamError, match="coefficients: expected the bytes that encode 60 of them"):
        MODEL.decode(change(MODEL.encode(values, known)), np.empty(60, np.float32), known)


@pytest.mark.parametrize("shift", [0, 1, 14])
def test_sizes_up_to_the_largest_come_back(shift: int) -> None:
    sizes = np.array([0, 1, 14, 15, 16, 17, 30, 31, 32, 255, 4096, TOP - 1, TOP])
    values = np.concatenate([sizes, -sizes]).astype(np.float32)
    halves = np.tile(np.arange(ESCAPE, dtype=np.float16) + np.float16(0.5), (len(MODEL.offset), 1))
    exact = Model(MODEL.expected, MODEL.frequencies, MODEL.offset * np.int8(0), halves)
    known, back = coefficients.flat(whole(16, shift, blocks=values.size)), np.empty(values.size, np.float32)
    exact.decode(exact.encode(values, known), back, known)
    assert np.array_equal(back, values)


@pytest.mark.parametrize(("length", "low"), [(15, 0), (14, 16383)])
def test_sizes_beyond_the_largest_are_refused(length: int, low: int) -> None:
    """An escape may say more than a coefficient can be: 15 bits, or a size of more than TOP after the shift."""
    encoder = rans.Encoder(MODEL.tables)
    encoder.put(np.array([ESCAPE], np.uint8), np.array([160]))
    encoder.raw([length], 4)
    encoder.raw([low], 14)
    encoder.raw([1], 1)
    encoder.raw([0], 1)
    data, known = encoder.finish(), whole(16, 1)
    with pytest.raises(BitstreamError):
        coefficients.decode(MODEL, data, known)
    with pytest.raises(BitstreamError):
        MODEL.decode(data, np.empty(1, np.float32), coefficients.flat(known))


def test_streams_are_as_long_as_their_tables_say() -> None:
    """Within the lanes' 16 bytes and a thousandth."""
    rng = np.random.default_rng(0)
    known = planes(rng, 60, 100)._replace(shifts=np.zeros(60, np.uint8))
    values = rng.laplace(scale=0.7, size=(60, 100)).astype(np.float32)
    ideal, walk = 0.0, coefficients.Walk(MODEL, known)
    for plane, index, shift in walk:
        symbols = MODEL.quantise(values[plane], index, shift)
        assert symbols.max() < ESCAPE
        ideal += MODEL.tables.bits(symbols.astype(np.uint8), index) + (symbols > 0).sum()
        walk.code(symbols)
    assert ideal < 8 * len(MODEL.encode(values.ravel(), coefficients.flat([known]))) < 1.001 * ideal + 8 * rans.OPENING


def test_activity_chooses_tables_and_pays() -> None:
    """Blocks that were busy are coded by tables for busy blocks, so what such tables expect there is cheap."""
    falling = np.array([2.0 ** -np.arange(1, 17), 0.9 ** np.arange(16)])
    shares = np.stack([falling[0] if i % BINS < BINS // 2 else falling[1] for i in range(CLASSES * BINS)])
    sizes = 1 + np.floor(shares / shares.sum(axis=1, keepdims=True) * (16384 - 16)).astype(np.int64)
    sizes[:, 0] += 16384 - sizes.sum(axis=1)
    tuned = Model(np.full(CLASSES, 512, np.uint16), sizes.astype(np.uint16), MODEL.offset, MODEL.thresholds)
    known, busy = whole(8, count=40, blocks=50), np.zeros((40, 50), np.float32)
    busy[:, :25] = 5.0
    mixed = np.random.default_rng(0).permuted(busy, axis=1)
    in_order, in_disorder = (len(tuned.encode(y.ravel(), coefficients.flat(known))) for y in (busy, mixed))
    assert in_order < 0.8 * in_disorder


# ---- The kernel's border --------------------------------------------------------------------------------------------


def test_the_kernel_checks_what_it_is_given() -> None:
    known = whole(count=3, blocks=4)
    y, plan = np.zeros(12, np.float32), coefficients.flat(known)
    for before, own in (((), (MODEL.parts, MODEL.limits)), ((bytes(16),), (MODEL.tables.rows, MODEL.points))):
        call: Any = _kernel.coefficients_decode if before else _kernel.coefficients_encode
        good = [y, *plan, MODEL.expected, *own]

        def refused(at: int, value: NDArray[Any], message: str, good: list[Any] = good, call: Any = call) -> None:
            with pytest.raises(ValueError, match=message):
                call(*before, *good[:at], value, *good[at + 1 :])  # noqa: B023 - called in this round

        call(*before, *good) if not before else None
        refused(0, y[1:], "sizes: expected those of y")
        refused(1, plan[0] * -1, "sizes: expected 0")
        refused(1, plan[0] * 2, "sizes: expected those of y")
        refused(2, plan[1][1:], "a class for each plane")
        refused(2, plan[1] + np.uint8(14), "classes below 17")
        refused(3, plan[2][1:], "shifts: expected 3 bytes, got 2")
        refused(3, plan[2] + np.uint8(15), "shifts to 14")
        refused(4, MODEL.expected[1:], "expected: expected 34 bytes")
        refused(4, MODEL.expected + np.uint16(1024), "expectations to 1024")
        refused(5, own[0].ravel()[1:].copy(), "expected")
        refused(6, own[1].ravel()[1:].copy(), "expected 10880 bytes")
