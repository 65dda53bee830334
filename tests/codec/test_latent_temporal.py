"""Latents coded after others: the numbers that they have alone, by kernel and reference; hostile bytes; tables."""

import math
import re
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import latent_after, latent_temporal
from common.codec.arithmetic import REFERENCE
from common.codec.elements import WIDEST, Cells
from common.codec.latent import LatentCoder
from common.codec.latent_after import Numbers, decode, decode_alone, encode, opened, quantised
from common.codec.latent_temporal import (
    ELEMENT_ROWS,
    EXACT,
    HYPER_ROWS,
    MOST_PARTS,
    PARTS,
    PLACES,
    Before,
    Tables,
    shipped,
    told,
)
from common.errors import BitstreamError
from tests.codec.latent_samples import PARAMS, cells_in, coder, coder_arrays, latent

Floats = NDArray[np.float32]
TABLES = shipped()


class Case(NamedTuple):
    """A latent, its coder, and what an earlier frame left."""

    coder: LatentCoder
    y: Floats
    z: Floats
    quality: int
    cells: Cells
    before: Before

    @property
    def grid(self) -> tuple[int, int]:
        return self.y.shape[1], self.y.shape[2]

    def encode(self, by: LatentCoder | None = None) -> tuple[bytes, Numbers]:
        by = by or self.coder
        after = encode(by, TABLES, opened(by, self.y, self.z, self.quality, self.cells, self.before), self.before)
        assert after is not None
        return after

    def decode(self, data: bytes, by: LatentCoder | None = None) -> Numbers:
        return decode(by or self.coder, TABLES, data, self.quality, self.grid, self.cells, self.before)


def reference(of: LatentCoder) -> LatentCoder:
    other = copy(of)
    other.arithmetic = REFERENCE
    return other


def left(of: LatentCoder, y: Floats, z: Floats, quality: int, cells: Cells) -> Before:
    """What a frame that is coded alone leaves."""
    numbers = quantised(of, opened(of, y, z, quality, cells))
    return Before.of(numbers.levels(of), of, cells)


def case(seed: int, quality: int = 300, other: int = 300, alike: float = 0.98, channels: int = 20) -> Case:
    """A frame that is more or less the same as the one before, which was coded in another quality."""
    rng = np.random.default_rng(seed)
    halvings = int(rng.integers(3))
    of = coder(seed, channels, int(rng.integers(1, 9)), halvings)
    height, width = (int(rng.integers(1, 5)) << halvings for _ in range(2))
    cells = cells_in(rng, height, width)
    (y, z), (more_y, more_z) = latent(rng, of, height, width), latent(rng, of, height, width)
    before = left(of, y, z, other, cells)
    new = [(alike * old + (1 - alike) * more).astype(np.float32) for old, more in ((y, more_y), (z, more_z))]
    new[0][rng.random(y.shape) < 0.01] = np.nan
    return Case(of, *new, quality, cells, before)


cases = st.builds(
    case,
    st.integers(0, 2**32),
    st.integers(40, 700),
    st.integers(40, 700),
    st.sampled_from([0.0, 0.7, 0.98, 1.0]),
    st.sampled_from([1, 7, 20, 140]),
)


def same(one: Numbers, other: Numbers) -> bool:
    return (
        one.quality == other.quality
        and np.array_equal(one.z, other.z)
        and np.array_equal(one.q, other.q)
        and np.array_equal(one.fixed, other.fixed)
    )


# ---- Both ways -----------------------------------------------------------------------------------------------------


@given(cases)
@settings(max_examples=60, deadline=None)
def test_both_sides_have_the_same_by_kernel_and_reference(c: Case) -> None:
    data, numbers = c.encode()
    by_reference, found = c.encode(reference(c.coder))
    assert data == by_reference and same(numbers, found)
    for by in (c.coder, reference(c.coder)):
        decoded = c.decode(data, by)
        assert same(decoded, numbers) and decoded.fixed.dtype == np.int32
        assert np.array_equal(decoded.levels(by), numbers.levels(c.coder))


@given(cases)
@settings(max_examples=60, deadline=None)
def test_what_was_coded_after_another_can_be_said_alone_to_the_last_bit(c: Case) -> None:
    """It is the coder of latents coded alone that reads it."""
    data, _ = c.encode()
    numbers = c.decode(data)
    payload = numbers.alone(c.coder)
    decoded = c.coder.decode(payload, *c.grid, c.cells)
    assert decoded.quality == c.quality
    assert np.array_equal(c.cells.within(decoded.fixed).reshape(numbers.fixed.shape), numbers.fixed)
    assert same(decode_alone(c.coder, payload, c.quality, c.grid, c.cells), numbers)


@given(cases)
@settings(max_examples=40, deadline=None)
def test_a_frame_alone_is_what_the_coder_of_latents_writes(c: Case) -> None:
    payload, _ = c.coder.encode(c.y, c.z, c.quality, c.cells)
    numbers = quantised(c.coder, opened(c.coder, c.y, c.z, c.quality, c.cells))
    assert numbers.alone(c.coder) == payload
    assert same(decode_alone(reference(c.coder), payload, c.quality, c.grid, c.cells), numbers)


@pytest.mark.parametrize("quality", [200, 300, 400])
def test_what_stays_costs_next_to_nothing_and_what_is_all_new_not_twice_as_much_as_alone(quality: int) -> None:
    for seed in range(5):
        same_again, other = (case(seed, quality, quality, alike, 140) for alike in (1.0, 0.0))
        alone = len(same_again.coder.encode(same_again.y, same_again.z, quality, same_again.cells)[0])
        assert len(same_again.encode()[0]) < 0.2 * alone + 8
        alone = len(other.coder.encode(other.y, other.z, quality, other.cells)[0])
        assert len(other.encode()[0]) < 2 * alone + 8


def test_values_stay_near_what_they_are() -> None:
    c = case(3, quality=400, alike=0.9)
    _, numbers = c.encode()
    silent = c.coder.model.rows.silent[numbers.known.index]
    step = c.coder.point(c.quality).step / 65536
    y = np.nan_to_num(c.cells.within(c.y).reshape(silent.shape), nan=0)
    off = np.abs(numbers.fixed / 256 - y) / step
    known = np.isfinite(c.cells.within(c.y).reshape(silent.shape)) & ~silent
    assert known.any() and np.quantile(off[known], 0.9) < 1


def test_nothing_drifts_over_frames_of_changing_quality() -> None:
    rng = np.random.default_rng(1)
    first = case(8, channels=30)
    by, other, before = first.coder, reference(first.coder), first.before
    for _ in range(60):
        y = first.y + 0.05 * rng.normal(size=first.y.shape).astype(np.float32)
        c = Case(by, np.nan_to_num(y), first.z, int(rng.integers(200, 400)), first.cells, before)
        data, numbers = c.encode()
        found = c.decode(data, other)
        assert same(found, numbers)
        before = Before.of(found.levels(other), other, c.cells)


def test_numbers_too_far_from_what_was_expected_are_coded_alone() -> None:
    c = case(2, quality=700, alike=1.0)
    far = c._replace(before=Before(c.before.z, np.full_like(c.before.fixed, -WIDEST)), y=np.full_like(c.y, 3e9))
    silent = c.coder.model.rows.silent[opened(c.coder, c.y, c.z, 700, c.cells).known.index]
    assert not silent.all()
    assert encode(c.coder, TABLES, opened(c.coder, far.y, far.z, 700, far.cells, far.before), far.before) is None


# ---- What is expected ----------------------------------------------------------------------------------------------


@given(st.integers(-WIDEST, WIDEST), st.integers(-WIDEST, WIDEST), st.integers(1 << 8, 1 << 24))
@settings(deadline=None)
def test_expectations_are_the_nearest_parts_of_a_step(before: int, mean: int, step: int) -> None:
    found = told(np.array([before], np.int32), np.array([mean], np.int32), step, 256)
    exact = (before - mean) * 256 * PARTS / step
    assert found.sign[0] == (-1 if before < mean else 1)
    assert abs(found.parts[0] - min(abs(exact), MOST_PARTS)) <= 0.5
    assert abs(found.whole[0] * PARTS - found.parts[0]) <= PARTS / 2
    assert found.bins[0] == (found.parts[0] if found.parts[0] < EXACT else EXACT + found.parts[0] % PARTS)


def test_the_costs_are_those_of_the_rows() -> None:
    rows = TABLES.rows
    index = np.random.default_rng(0).integers(0, HYPER_ROWS + ELEMENT_ROWS, 3000).astype(np.uint16)
    changes = np.random.default_rng(1).integers(-15, 16, 3000, np.int32)
    expected = TABLES.costs[index, changes + 15].sum()
    (data,) = rows.encode_each(changes, index, np.array([[3000]], np.uint32))
    assert abs(8 * (len(data) - 4) - expected) < 32


# ---- Hostile bytes -------------------------------------------------------------------------------------------------


@given(cases, st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_damage_is_refused_or_another_latent(c: Case, seed: int) -> None:
    rng, (data, _) = np.random.default_rng(seed), c.encode()
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
    cut = int(rng.choice([0, 0, 0, 1, 2]))
    wrong = bytes(damaged[: len(damaged) - cut])
    try:
        found = c.decode(wrong)
    except BitstreamError:
        with pytest.raises(BitstreamError):
            c.decode(wrong, reference(c.coder))
    else:
        assert same(found, c.decode(wrong, reference(c.coder)))
        assert np.abs(found.fixed).max(initial=0) <= WIDEST


@pytest.mark.parametrize("change", [lambda d: d[:-2], lambda d: d + b"\0\0", lambda d: d[:3], lambda d: b"\0" * 4])
def test_a_stream_of_another_length_is_refused(change: Any) -> None:
    c = case(5)
    data, _ = c.encode()
    for by in (c.coder, reference(c.coder)):
        with pytest.raises(BitstreamError):
            c.decode(change(data), by)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bits", np.zeros(9, np.uint8), "bits: expected"),
        ("frequencies", TABLES.rows.tables.frequencies[:-1], "bits: expected"),
        ("expected", TABLES.expected[:-1], r"expected: expected uint16 \[256\]"),
        ("expected", np.zeros(PLACES, np.uint16), "above 0"),
        ("expected", TABLES.expected.astype(np.int32), "expected: expected uint16"),
    ],
)
def test_tables_that_do_not_fit_are_refused(name: str, value: Any, message: str) -> None:
    rows = TABLES.rows
    arrays = {"bits": rows.bits, "frequencies": rows.tables.frequencies, "expected": TABLES.expected}
    assert np.array_equal(Tables.of(arrays).expected, TABLES.expected)
    with pytest.raises(ValueError, match=message):
        Tables.of(arrays | {name: value})
    silent = rows.tables.frequencies.copy()
    silent[7] = np.where(np.arange(16) == 7, 1 << 14, 0)
    bits = np.where(np.arange(len(rows.bits)) == 7, 0, rows.bits).astype(np.uint8)
    with pytest.raises(ValueError, match="none of them silent"):
        Tables.of(arrays | {"bits": bits, "frequencies": silent})


# ---- The documentation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_decoder_that_is_printed_in_the_documentation(seed: int) -> None:
    text = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
    printed: dict[str, Any] = {"math": math}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), printed)
    c = printable(seed)
    data, numbers = c.encode()
    arrays, tables = listed(c.coder), listed_tables()
    z_cells = c.cells.halved(c.coder.halvings)
    before = c.before.z.reshape(-1, *z_cells.shape).tolist(), c.before.fixed.reshape(-1, *c.cells.shape).tolist()
    given_ = (c.quality, arrays, PARAMS["unit"], *c.grid, tuple(c.cells), before, tables)
    z, y = printed["decode_latent_after"](data, *given_)
    assert np.array_equal(np.array(z).reshape(c.before.z.shape), c.coder.hyper_of(numbers.z, c.coder.point(c.quality)))
    assert np.array_equal(np.array(y).reshape(numbers.fixed.shape), numbers.fixed)
    for damaged in (data[:-2], data + b"\0\0"):
        with pytest.raises(AssertionError):
            printed["decode_latent_after"](damaged, *given_)


def printable(seed: int) -> Case:
    """A small one whose arrays are at hand."""
    of = LatentCoder.from_params(PARAMS, coder_arrays(np.random.default_rng(seed), 15, 3, 1), "latent")
    rng, cells = np.random.default_rng(seed), Cells(1, 0, 4, 3)
    y, z = latent(rng, of, 4, 4)
    before = left(of, y, z, 320, cells)
    return Case(of, y + 0.1 * rng.normal(size=y.shape).astype(np.float32), z, 300, cells, before)


def listed(of: LatentCoder) -> dict[str, Any]:
    """As the programs of the documentation take it."""
    nets = {"decoder": of.decoder, "head": of.passes[0].head}
    found: dict[str, Any] = {
        name: [
            (layer.weight.tolist(), layer.bias.tolist(), layer.shift.tolist(), layer.relu + 2 * layer.shuffle)
            for layer in net.layers
        ]
        for name, net in nets.items()
    }
    found |= {f"{name}_limit": int(net.input_limit) for name, net in nets.items()}
    model = of.model
    rows = list(zip(model.rows.bits.tolist(), model.rows.tables.frequencies.tolist(), strict=True))
    found |= {"y": rows[:88], "z": rows[88:]}
    return found | {
        name: getattr(model, name).tolist() for name in ("exponent", "offset", "levels", "z_step", "centre")
    }


def listed_tables() -> tuple[list[tuple[int, list[int]]], list[int]]:
    rows = list(zip(TABLES.rows.bits.tolist(), TABLES.rows.tables.frequencies.tolist(), strict=True))
    return rows, TABLES.expected.tolist()


def test_the_numbers_that_are_printed_in_the_documentation() -> None:
    assert (HYPER_ROWS, ELEMENT_ROWS) == (15, 3328)
    assert latent_after.LANES == 1 and latent_temporal.MOST_PARTS == 4096
