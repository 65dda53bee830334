"""The coder of latents: kernel and reference agree to the bit, both sides have the same, hostile bytes cost nothing."""

import tracemalloc
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import _kernel, elements, latent_model, values
from common.codec import latent as module
from common.codec.elements import SCALES, WIDEST, Cells, Parameters
from common.codec.latent import LatentCoder
from common.codec.rounding import SIZES
from common.errors import BitstreamError
from tests.codec.latent_samples import PARAMS, Case, case, coder, coder_arrays, latent, reference

Floats = NDArray[np.float32]


cases = st.builds(
    case,
    st.integers(0, 2**32),
    st.integers(40, 700),
    st.sampled_from([0, 0, 3, 4]),
    st.sampled_from([1, 7, 20]),
    st.booleans(),
)


# ---- Both ways -----------------------------------------------------------------------------------------------------


@given(cases)
@settings(max_examples=60)
def test_the_kernel_is_the_reference_and_both_sides_have_the_same(c: Case) -> None:
    payload, fixed = c.encode()
    by_reference = c.encode(reference(c.coder))
    assert payload == by_reference[0]
    assert np.array_equal(fixed, by_reference[1])
    for by in (c.coder, reference(c.coder)):
        decoded = c.decode(payload, by)
        assert decoded.quality == c.quality
        assert decoded.fixed.dtype == np.int32
        assert np.array_equal(decoded.fixed, fixed)


@given(cases)
@settings(max_examples=60)
def test_values_come_back_within_a_step_and_their_offset(c: Case) -> None:
    """But for silent rows and what no integer holds; the kernel's rounding of steps costs a little."""
    _, fixed = c.encode()
    point = c.coder.point(c.quality)
    z = c.coder.quantise_hyper(c.cells.halved(c.coder.halvings).within(c.z), point)
    for stage in c.coder._walk(z, c.y.shape[1:], c.cells, point, c.context):
        known = c.coder.parameters(stage, point)
        y, back = (
            c.cells.within(part)[stage.of.part].reshape(stage.of.channels, -1)[:, stage.places]
            for part in (c.y, fixed / 256)
        )
        offset = np.abs(c.coder.model.offset[point.level][known.index]) / 1024
        silent = c.coder.model.rows.silent[known.index]
        assert np.array_equal(256 * back[silent], known.mean[silent])
        alive = ~silent & (np.abs(y - known.mean / 256) < 2**20 * point.step / 65536)
        error = np.abs(y - back)[alive]
        assert (error <= ((1 + offset) * point.step / 65536 + 1 / 256 + np.abs(y) * 1e-5)[alive]).all()
        stage.put(slice(0, stage.count), (256 * back).astype(np.int32))


@given(cases)
@settings(max_examples=30)
def test_what_is_outside_the_cells_does_not_travel(c: Case) -> None:
    payload, fixed = c.encode()
    other = c._replace(y=np.full_like(c.y, 77), z=np.full_like(c.z, -5))
    c.cells.within(other.y)[:] = c.cells.within(c.y)
    z_cells = c.cells.halved(c.coder.halvings)
    z_cells.within(other.z)[:] = z_cells.within(c.z)
    assert other.encode()[0] == payload
    c.cells.within(fixed)[:] = 0
    assert not fixed.any()


def test_what_is_not_a_number_is_the_mean_and_infinity_is_far() -> None:
    c = case(3, context=0)
    c = c._replace(cells=Cells(0, 0, *c.y.shape[1:]), y=np.full_like(c.y, np.nan), z=np.full_like(c.z, np.nan))
    assert c.encode()[0] == c.encode(reference(c.coder))[0]
    known = c.encode()[1]
    infinite = c._replace(y=np.full_like(c.y, np.inf))
    assert infinite.encode()[0] == infinite.encode(reference(c.coder))[0]
    silent = infinite.encode()[1] == known
    assert (infinite.encode()[1][~silent] > known[~silent]).all()
    assert not silent.all()


def test_large_latents_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    of = coder(1, 20, 4, 2, 3)
    rng = np.random.default_rng(1)
    y, z = latent(rng, of, 36, 28)
    c = Case(of, y, z, Cells(3, 1, 35, 28), rng.integers(-50, 5000, (3, 36, 28), np.int32), 320)
    whole = c.encode()
    assert module.CHUNK % values.RUN == 0
    monkeypatch.setattr(module, "CHUNK", 2 * values.RUN)
    parts = c.encode()
    assert parts[0] == whole[0]
    assert np.array_equal(c.decode(parts[0]).fixed, whole[1])


def test_context_changes_what_is_expected() -> None:
    c = case(8, context=4)
    assert c.context is not None
    assert c.encode()[0] != c._replace(context=c.context + 400).encode()[0]
    assert c.coder.context_net is not None
    lower = np.random.default_rng(0).integers(-9999, 9999, (7, 3, 5), np.int32)
    assert c.coder.context_net(lower).shape == (4, 3, 5)


def test_more_quality_is_less_error_and_more_bytes() -> None:
    c = case(21, channels=20)
    found = [c._replace(quality=quality).encode() for quality in (150, 300, 450)]
    errors = [np.abs(c.cells.within(c.y - fixed / 256)).mean() for _, fixed in found]
    assert errors[0] > errors[1] > errors[2]
    assert len(found[0][0]) < len(found[1][0]) < len(found[2][0])


# ---- Steps and rows -------------------------------------------------------------------------------------------------


def test_steps_are_powers_of_two_rounded_correctly() -> None:
    with localcontext() as context:
        context.prec = 60
        for below in range(-512, 768):
            exact = Decimal(2) ** (Decimal(below) / 64) * 65536
            assert abs(latent_model.step_fixed(below) - exact) <= Decimal("0.5000001"), below
    assert [latent_model.step_fixed(below) for below in (-64, 0, 64, 32)] == [32768, 65536, 131072, 92682]
    for below in (-513, 768):
        with pytest.raises(ValueError, match=r"quality: expected steps of 2\^-8 to 2\^12"):
            latent_model.step_fixed(below)


def test_levels_begin_at_their_quality() -> None:
    of = coder(0, 3, 2, 1)
    assert of.model.levels.tolist() == [0, 200, 300, 480]
    assert [of.point(quality).level for quality in (40, 199, 200, 299, 300, 479, 480, 700)] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("quality", "row"), [(300, 26), (303, 26), (304, 26), (305, 27), (297, 26), (296, 25), (364, 34), (40, -7)]
)
def test_a_row_is_an_eighth_of_an_octave(quality: int, row: int) -> None:
    """A scale of one unit: row 26 if the step is one, too; half way the larger."""
    assert coder(0, 3, 2, 1).point(quality).row == row


@pytest.mark.parametrize("by", [elements.parameters, elements.parameters_reference])
def test_means_and_rows_are_relative_to_the_channels_spread(by: Any) -> None:
    said = np.array(
        [
            [64, -64, 1, 40000],
            [64, 5, -5, -40000],
            [32767, -32767, 3, 0],
            [0, 1, 61, 62],
            [-8, -26, -27, 0],
            [9999, -9999, 0, 40000],
        ],
        np.int32,
    )
    exponent = np.array([0, -4, 8], np.int8)
    to = Parameters(np.full((3, 6), 9, np.int32), np.full((3, 6), 9, np.uint16))
    by(said, exponent, 26, 1, to)
    assert to.mean[0].tolist() == [9, 256, -256, 4, 131068, 9]
    assert to.mean[1].tolist() == [9, 16, 1, -1, -8192, 9]  # 1.25 to 1, -1.25 to -1
    assert to.mean[2].tolist() == [9, WIDEST, -WIDEST, 3072, 0, 9]
    assert to.index[0].tolist() == [9, 26, 27, 87, 87, 9]
    assert to.index[1].tolist() == [9, 18, 0, 0, 26, 9]


@pytest.mark.parametrize("by", [elements.dequantise, elements.dequantise_reference])
def test_values_are_drawn_towards_their_mean_by_the_offset(by: Any) -> None:
    q = np.array([0, 1, -1, 2, 15, -16, 17, 0], np.int32)
    offset = np.arange(SCALES).astype(np.int16) * np.int16(10)
    index, mean = np.full(8, 12, np.uint16), np.full(8, 1000, np.int32)
    by(q, index, offset, 92682, mean)
    distances = [((abs(size) * 1024 - 120) * 92682) >> 18 for size in q.tolist()]
    assert mean.tolist() == [1000 + int(np.sign(s)) * d for s, d in zip(q.tolist(), distances, strict=True)]
    far = np.array([WIDEST, -WIDEST, 0], np.int32)
    by(np.array([1 << 20, -(1 << 20), 1 << 20], np.int32), index[:3], offset, 1 << 27, far)
    assert far.tolist() == [WIDEST, -WIDEST, WIDEST]


# ---- Hostile bytes --------------------------------------------------------------------------------------------------


@given(cases, st.integers(0, 2**32))
@settings(max_examples=150)
def test_damage_is_refused_or_another_latent_s_code(c: Case, seed: int) -> None:
    rng, data = np.random.default_rng(seed), bytearray(c.encode()[0])
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    try:
        found = c.decode(bytes(data))
    except BitstreamError:
        with pytest.raises(BitstreamError):
            c.decode(bytes(data), reference(c.coder))
    else:
        again = c.decode(bytes(data), reference(c.coder))
        assert again.quality == found.quality
        assert np.array_equal(found.fixed, again.fixed)


@given(cases, st.binary(max_size=90))
def test_noise_is_refused(c: Case, noise: bytes) -> None:
    for data in (noise, c.encode()[0][:2] + noise):
        try:
            c.decode(data)
        except BitstreamError:
            continue
        assert noise[-len(noise) // 2 * 2 :][-16:] == bytes.fromhex("00010000" * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: b"", "latent: expected more than 2 bytes, got 0"),
        (lambda d: d[:2], "latent: expected more than 2 bytes"),
        (lambda d: b"\0\0" + d[2:], r"quality: expected 40\.\.700, got 0"),
        (lambda d: b"\xff\xff" + d[2:], r"quality: expected 40\.\.700, got 65535"),
        (lambda d: d[:-2], "rANS stream: expected"),
        (lambda d: d[:-1], "rANS stream: expected"),
        (lambda d: d + b"\0\0", "rANS stream: expected"),
        (lambda d: d[:9], "rANS stream: expected"),
    ],
)
def test_cut_and_lengthened_payloads_are_refused(change: Any, message: str) -> None:
    c = case(40)
    with pytest.raises(BitstreamError, match=message):
        c.decode(change(c.encode()[0]))


def test_a_small_payload_of_a_large_picture_costs_little_memory() -> None:
    of = coder(5, 24, 4, 2)
    empty = PARAMS["default_quality"].to_bytes(2, "big") + bytes.fromhex("00010000" * 4)
    height, width = 256, 256
    tracemalloc.start()
    with pytest.raises(BitstreamError):
        of.decode(empty, height, width, Cells(0, 0, height, width))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 24 * 24 * height * width + (32 << 20)


# ---- What does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quality": 39}, r"quality: expected 40\.\.700, got 39"),
        ({"quality": 701}, r"quality: expected 40\.\.700, got 701"),
        ({"y": np.zeros((6, 4, 8), np.float32)}, "y and z: expected 7 and 3 channels"),
        ({"z": np.zeros((3, 1, 2), np.float32)}, "y and z: expected 7 and 3 channels"),
        ({"y": np.zeros((7, 5, 8), np.float32)}, "grid: expected multiples of 2, got 5 x 8"),
        ({"cells": Cells(0, 0, 5, 8)}, "cells: expected some of 4 x 8"),
        ({"cells": Cells(2, 0, 2, 8)}, "cells: expected some of 4 x 8"),
        ({"cells": Cells(-1, 0, 4, 8)}, "cells: expected some of 4 x 8"),
        ({"context": None}, r"context: expected \(4, 4, 8\), got None"),
        ({"context": np.zeros((4, 4, 4), np.int32)}, r"context: expected \(4, 4, 8\), got \(4, 4, 4\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    of = coder(0, 7, 3, 1, 4)
    y, z, known = np.zeros((7, 4, 8), np.float32), np.zeros((3, 2, 4), np.float32), np.zeros((4, 4, 8), np.int32)
    c = Case(of, y, z, Cells(1, 0, 4, 8), known, 300)
    payload = c.encode()[0]
    changed = c._replace(**change)
    with pytest.raises(ValueError, match=message):
        changed.encode()
    if not change.keys() & {"quality", "z"} and changed.y.shape[0] == 7:
        with pytest.raises(ValueError, match=message):
            changed.decode(payload)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exponent": np.full(6, 9, np.int8)}, r"latent.exponent: expected -16\.\.8"),
        ({"exponent": np.zeros(6)}, "latent.exponent: expected int8"),
        ({"exponent": np.zeros(5, np.int8)}, "head: expected 10 outputs, got 12"),
        ({"offset": np.full((4, SCALES), 1024, np.int16)}, r"latent.offset: expected -1023\.\.1023"),
        ({"offset": np.zeros((3, SCALES), np.int16)}, r"latent.offset: expected int16 \[4, 88\]"),
        ({"levels": np.array([0, 300, 300, 400], np.uint16)}, "latent.levels: expected up to 64 rising"),
        ({"levels": np.zeros(0, np.uint16)}, "latent.offset: expected int16"),
        ({"z_step": np.array([64, 0, 1, 1], np.int32)}, r"latent.z_step: expected 1\.\.32768"),
        ({"centre": np.zeros(3, np.int32)}, "latent.z.bits: expected 12 rows, got 16"),
        ({"centre": np.full(4, 40000, np.int32)}, "latent.centre: expected -32767"),
        ({"y.bits": np.zeros(87, np.uint8)}, "latent.y.bits: expected 88 rows, got 87"),
        ({"z.bits": np.zeros(15, np.uint8)}, "latent.bits: expected uint8"),
        ({"y.frequencies": np.full((89, 16), 1024, np.uint16)}, "latent.y.frequencies: expected 88 rows, got 89"),
        (
            {"y.bits": np.zeros(0, np.uint8), "y.frequencies": np.zeros((0, 16), np.uint16)},
            "latent.y.bits: expected 88 rows",
        ),
        ({"y.frequencies": np.full((88, 16), 1025, np.uint16)}, "latent.frequencies: expected rows that sum"),
        ({"decoder.kinds": np.array([1, 3, 2], np.uint8)}, "latent.decoder.2: expected a relu"),
        ({"head.kinds": np.array([1], np.uint8)}, "head: expected one 1x1 layer"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    arrays = coder_arrays(np.random.default_rng(0), 6, 4, 2)
    with pytest.raises(ValueError, match=message):
        LatentCoder.from_params(PARAMS, arrays | {f"latent.{name}": array for name, array in changes.items()}, "latent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qualities": [40, 30]}, "qualities: expected"),
        ({"qualities": [-1, 400]}, "qualities: expected"),
        ({"default_quality": 701}, "default_quality: expected one of"),
        ({"unit": 2000}, r"quality: expected steps of 2\^-8 to 2\^12"),
        ({"unit": 100}, r"quality: expected steps of 2\^-8 to 2\^12"),
    ],
)
def test_params_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    arrays = coder_arrays(np.random.default_rng(0), 6, 4, 2)
    with pytest.raises(ValueError, match=message):
        LatentCoder.from_params(PARAMS | changes, arrays, "latent")


@pytest.mark.parametrize(
    "name", ["exponent", "offset", "levels", "z_step", "centre", "y.bits", "z.frequencies", "head.kinds"]
)
def test_missing_arrays_are_key_errors(name: str) -> None:
    arrays = coder_arrays(np.random.default_rng(0), 6, 4, 2)
    del arrays[f"latent.{name}"]
    with pytest.raises(KeyError, match=f"latent.{name}"):
        LatentCoder.from_params(PARAMS, arrays, "latent")


def test_the_kernel_checks_what_it_is_given() -> None:
    said, exponent = np.zeros((4, 3), np.int32), np.zeros(2, np.int8)
    mean, index = np.zeros((2, 5), np.int32), np.zeros((2, 5), np.uint16)
    good: list[Any] = [said, exponent, 26, 1, mean, index]
    _kernel.elements_parameters(*good)
    for at, value in (
        (0, said[1:]),
        (1, exponent + np.int8(9)),
        (2, 40000),
        (3, 3),
        (3, -1),
        (4, mean[:1]),
        (5, index[:1]),
    ):
        with pytest.raises(ValueError, match="expected the size that the latent has"):
            _kernel.elements_parameters(*good[:at], value, *good[at + 1 :])
    y, up, q = np.zeros((2, 4, 3), np.float32), np.zeros((SCALES, SIZES), np.float32), np.zeros((2, 5), np.int32)
    good = [y, y.shape, (0, 1, 5, 2), mean, index, up, 1.0, q]
    for at, value in (
        (2, (0, 1, 5, 2)),
        (2, (0, 1, 4, 2)),
        (2, (3, 1, 2, 2)),
        (1, (2, 5, 3)),
        (5, up[1:]),
        (7, q[1:]),
    ):
        with pytest.raises(ValueError, match="expected the size that the latent has"):
            _kernel.elements_quantise(*good[:at], value, *good[at + 1 :])
    offset = np.zeros(SCALES, np.int16)
    good = [q, index, offset, 65536, mean]
    _kernel.elements_dequantise(*good)
    for at, value in ((0, q[1:]), (1, index + np.uint16(88)), (2, offset[1:]), (3, 0), (3, 1 << 29), (4, mean[1:])):
        with pytest.raises(ValueError, match="expected the size that the latent has"):
            _kernel.elements_dequantise(*good[:at], value, *good[at + 1 :])
