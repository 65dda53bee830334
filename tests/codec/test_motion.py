"""Motion: integers that are the floats' neighbours, the same by any order of adding; vectors, found and said."""

import math
import re
from contextlib import nullcontext
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec import Kind, Layer, Transform, Window, _kernel, coefficients, motion, rans, temporal
from common.codec.blocks import Grid, from_spectrum, spectrum
from common.codec.coefficients import step_of
from common.codec.motion import FARTHEST, MOST_LEVEL, Motion, differences, vectors_of
from common.codec.temporal import Moved
from common.errors import BitstreamError
from tests.codec.transform_samples import Array, bundle

PARAMS, ARRAYS = bundle([[6, 24, 28]], block=4, turned=30)
ARRAYS["0.scale"] = np.linspace(300, 0, 96).astype(np.int16)
ARRAYS["0.turned"] = np.linspace(300, 200, 30).astype(np.int16)
CODEC = Transform.from_params(PARAMS, ARRAYS)
BASIS = CODEC.tensors[0].basis
MOTION = Motion(BASIS)
QUALITY = 420


def levels_of(features: Array, quality: int = QUALITY) -> Array:
    plan, y = CODEC.analysed([features], quality, None)
    return np.rint(plan.parts[0].of(y) * temporal.POINT).astype(np.int32)


def scene(seed: int = 0) -> Array:
    """Features that are smooth enough to be moved by parts of a place."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(6, 40, 44))
    for axis in (1, 2):
        for _ in range(3):
            rough = (np.roll(rough, 1, axis) + 2 * rough + np.roll(rough, -1, axis)) / 4
    return (8 * rough / rough.std()).astype(np.float32)


def seen(wide: Array, down: int = 0, right: int = 0) -> Array:
    return np.ascontiguousarray(wide[:, 6 + down : 30 + down, 6 + right : 34 + right])


def grid() -> Grid:
    return CODEC.plan(QUALITY, None).parts[0].grid


@pytest.mark.parametrize("block", [4, 8])
def test_waves_are_far_from_the_middle_between_integers(block: int) -> None:
    """So any machine's cosines give them."""
    exact = motion.cosines(block).astype(np.float64) * (1 << motion.DIGITS)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-2


def test_bases_in_integers_are_those_in_floats() -> None:
    """One block, all of its features, one at a time."""
    one = Grid(4, 0, 0, 1, 1)
    places = np.eye(6 * 16).reshape(-1, 6, 4, 4)
    for place, features in enumerate(places):
        by_frequency = spectrum((features + BASIS.mean[:, None, None]).astype(np.float32), BASIS.mean, one)
        by_rank = np.array([BASIS.forward[p] @ by_frequency[f, :, 0] for p, f in enumerate(BASIS.frequency)])
        m = BASIS.turned.size
        y = np.concatenate([BASIS.turn @ by_rank[:m], by_rank[m:]])[BASIS.order]
        assert np.abs(MOTION.forward[:, place] / 2**14 - y).max() < 3e-3
    for plane in range(0, len(BASIS.order), 7):
        by_rank = np.zeros(len(BASIS.order), np.float32)
        by_rank[BASIS.order[plane]] = 1
        by_rank[:m] = BASIS.unturn @ by_rank[:m]
        by_frequency = np.zeros((16, 6, 1), np.float32)
        for p, f in enumerate(BASIS.frequency):
            by_frequency[f, :, 0] += BASIS.inverse[p] * by_rank[p]
        added = from_spectrum(by_frequency, 0 * BASIS.mean, one, np.zeros((6, 4, 4), np.float16))
        assert np.abs(MOTION.inverse[:, plane] / 2**14 - added.ravel()).max() < 3e-3


def test_sums_are_below_what_a_float64_holds_exactly() -> None:
    assert np.array_equal(MOTION.inverse, np.rint(MOTION.inverse)) and np.abs(MOTION.inverse).max() <= 2**17
    assert np.array_equal(MOTION.forward, np.rint(MOTION.forward)) and np.abs(MOTION.forward).max() <= 2**17
    assert motion.MOST_RANKS * motion.MOST_FEATURE * motion.LARGEST < 2**53
    assert motion.MOST_RANKS * (MOST_LEVEL + 1) * motion.LARGEST < 2**53


@given(st.integers(0, 2**32), st.sampled_from([50.0, 5e4, 1e9]))
@settings(max_examples=15, deadline=None)
def test_moving_is_the_program_that_is_printed_in_the_documentation(seed: int, spread: float) -> None:
    text = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
    printed: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), printed)
    rng, small = np.random.default_rng(seed), Grid(4, 0, 0, 2, 3)
    levels = np.clip(rng.normal(scale=spread, size=(9, 6)), -MOST_LEVEL, MOST_LEVEL).astype(np.int32)
    vectors = rng.integers(-FARTHEST, FARTHEST + 1, (6, 2)).astype(np.int8) * rng.integers(0, 2, (6, 1), np.int8)
    bases = MOTION.inverse.astype(int).tolist(), MOTION.forward.astype(int).tolist()
    expected = printed["moved"](levels.tolist(), vectors.tolist(), 3, 6, 4, *bases)
    assert np.array_equal(MOTION.moved(levels, small, vectors), expected)


def test_blocks_that_do_not_move_keep_their_levels() -> None:
    levels, vectors = levels_of(seen(scene())), np.zeros((grid().blocks, 2), np.int8)
    vectors[5] = 4, -3
    found = MOTION.moved(levels, grid(), vectors)
    assert (found[:, 5] != levels[:, 5]).any()
    assert np.array_equal(np.delete(found, 5, 1), np.delete(levels, 5, 1))


@pytest.mark.parametrize(("down", "right"), [(1, 0), (-2, 1), (0, -2)])
def test_what_has_moved_is_found_where_it_was(down: int, right: int) -> None:
    wide = scene()
    levels, now = levels_of(seen(wide)), seen(wide, down, right)
    field = MOTION.field(levels, grid())
    active = np.ones(grid().blocks, bool)
    vectors = MOTION.search(now, field, active, grid(), step_of(QUALITY)).reshape(grid().rows, grid().columns, 2)
    assert (vectors[1:-1, 1:-1] == (4 * down, 4 * right)).all()
    moved = MOTION.moved(levels, grid(), vectors.reshape(-1, 2))
    inner = np.arange(grid().blocks).reshape(grid().rows, grid().columns)[1:-1, 1:-1].ravel()
    apart = np.abs(moved - levels_of(now))[:, inner]
    assert np.sqrt(np.mean(apart**2.0)) < 0.02 * np.sqrt(np.mean(levels**2.0))


def test_blocks_that_are_not_active_are_not_searched() -> None:
    wide = scene()
    field, active = MOTION.field(levels_of(seen(wide)), grid()), np.zeros(grid().blocks, bool)
    active[[8, 9]] = True
    vectors = MOTION.search(seen(wide, 1, 1), field, active, grid(), step_of(QUALITY))
    assert set(np.flatnonzero(vectors.any(axis=1))) == {8, 9}


def test_what_is_not_finite_does_not_stop_the_search() -> None:
    features, field = seen(scene()), MOTION.field(levels_of(seen(scene())), grid())
    features[:, :9] = np.nan
    features[:, 9:12] = np.inf
    vectors = MOTION.search(features, field, np.ones(grid().blocks, bool), grid(), 1e-30)
    assert np.abs(vectors).max() <= FARTHEST


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32))
@settings(deadline=None)
def test_vectors_come_back_from_their_differences(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-FARTHEST, FARTHEST + 1, (rows * columns, 2)).astype(np.int8)
    assert np.array_equal(vectors_of(differences(vectors, columns), columns), vectors)


def test_a_camera_that_turns_costs_less_than_one_that_shows_something_else() -> None:
    wide, window = scene(), None
    before = CODEC.encode_after([seen(wide)], QUALITY, window, None)
    turned = CODEC.encode_after([seen(wide, 1, 1)], QUALITY, window, before.state)
    alone = CODEC.encode([seen(wide, 1, 1)], QUALITY, window)
    assert not turned.alone
    assert len(turned.layers[0].payload) < 0.6 * len(alone[0].payload)
    features, state = CODEC.decode_after(turned.layers, window, {before.state.name: before.state}.get)
    assert state is not None and np.array_equal(state.levels, turned.state.levels)
    assert np.abs(features[0] - CODEC.decode(alone)[0]).max() < 8 * step_of(QUALITY)


def payload(rows: int, difference: int) -> tuple[bytes, temporal.State]:
    """A frame whose vectors are what no search finds."""
    before = CODEC.encode_after([seen(scene())], QUALITY, None, None).state
    plan, y = CODEC.analysed([seen(scene())], QUALITY, None)
    apart = np.zeros(2 * plan.parts[0].grid.blocks, np.int32)
    apart[3] = difference
    said = Moved(apart, np.array([rows], np.uint8))
    levels = CODEC._told(before, plan, QUALITY)
    coded, _ = temporal.changes().encode_after(y, plan.changes, plan.norms, levels, said)
    return (QUALITY | temporal.AFTER).to_bytes(2, "big") + before.name + coded, before


@pytest.mark.parametrize(
    ("rows", "difference", "message"),
    [
        (200, FARTHEST + 1, "vectors: expected up to 31, got 32"),
        (200, -20000, "vectors: expected up to 31, got "),
        (200, 0, "vectors: expected those of 42 blocks"),
    ],
)
def test_vectors_that_are_not_legal_are_refused(rows: int, difference: int, message: str) -> None:
    data, before = payload(rows, difference)
    with pytest.raises(BitstreamError, match=message):
        CODEC.decode_after([Layer(Kind.BASE, data)], None, {before.name: before}.get)


@pytest.mark.parametrize("row", [249, 250, temporal.STILL])
def test_no_row_beyond_the_tables_codes_vectors(row: int) -> None:
    """Not even the one by which both sides mean that nothing moves: that is said by a bit."""
    model, planes, blocks = temporal.changes(), CODEC.plan(QUALITY, None).changes, grid().blocks
    legal = row < temporal.CLASSES * coefficients.BINS
    encoder = rans.Encoder(model.tables, lanes=1)
    encoder.raw([1], 1)
    encoder.raw([row], temporal.ROW_BITS)
    for _ in range(2):
        encoder.put(np.ones(blocks, np.uint8), np.full(blocks, row if legal else 0, np.int32))
        coefficients.put_signs(encoder, np.ones(blocks, bool))
    data = encoder.finish()
    with nullcontext() if legal else pytest.raises(BitstreamError, match="vectors: expected"):
        assert model.moves(data, planes).rows.tolist() == [row]
    with nullcontext() if legal else pytest.raises(BitstreamError, match="row of vectors: expected below 250"):
        assert temporal.take_motion(rans.Decoder(data, model.tables, lanes=1), blocks).any()


def test_bases_in_integers_are_those_of_the_documentation() -> None:
    """By fractions: of its numbers, binary16, many are in the middle between two integers."""

    def fixed(x: Any) -> int:
        return round(Fraction(float(x)) * 2**14)

    def r(x: int, k: int) -> int:
        return max(-(2**17), min(2**17, (x + (1 << k >> 1)) >> k))

    def w(u: int, i: int) -> int:
        return round(2**14 * ((1 if u == 0 else 2) / 4) ** 0.5 * math.cos(math.pi * (2 * i + 1) * u / 8))

    direct_of: dict[int, list[int]] = {}
    ranks, m = range(len(BASIS.order)), BASIS.turned.size

    def direct(p: int) -> list[int]:
        u, v = divmod(int(BASIS.frequency[p]), 4)
        of = [r(fixed(x) * w(u, i) * w(v, j), 28) for x in BASIS.forward[p] for i in range(4) for j in range(4)]
        return direct_of.setdefault(p, of)

    def forward(p: int) -> list[int]:
        if p >= m:
            return direct(p)
        return [r(sum(fixed(BASIS.turn[p, k]) * direct(k)[i] for k in range(m)), 14) for i in range(96)]

    def inverse(plane: int, c: int, i: int, j: int) -> int:
        def unit(p: int) -> int:
            return fixed(BASIS.unturn[p, plane]) if p < m and plane < m else 2**14 * (p == plane)

        total = 0
        for u, v in product(range(4), range(4)):
            here = [p for p in ranks if BASIS.frequency[p] == 4 * u + v]
            total += w(u, i) * w(v, j) * r(sum(fixed(BASIS.inverse[p, c]) * unit(p) for p in here), 14)
        return r(total, 28)

    middle = np.modf(np.abs(BASIS.unturn.astype(np.float64)) * 2**14)[0] == 0.5
    assert middle.any()
    for row, rank in list(enumerate(BASIS.order.tolist()))[::13]:
        assert MOTION.forward[row].tolist() == forward(rank)
        places = list(product(range(6), range(4), range(4)))[::5]
        assert MOTION.inverse[::5, row].tolist() == [inverse(rank, *place) for place in places]


def test_tensors_that_are_too_large_do_not_move() -> None:
    params, arrays = bundle([[80, 8, 8]], block=4, turned=0)
    large = Transform.from_params(params, arrays)
    assert not Motion(large.tensors[0].basis).possible
    rng = np.random.default_rng(0)
    frames = [[rng.normal(size=(80, 8, 8)).astype(np.float32)] for _ in range(2)]
    before = large.encode_after(frames[0], 300, Window(0, 0, 8, 8, 8, 8), None)
    coded = large.encode_after(frames[1], 300, Window(0, 0, 8, 8, 8, 8), before.state)
    assert large.decode_after(coded.layers, Window(0, 0, 8, 8, 8, 8), {before.state.name: before.state}.get)[1]


def test_the_kernel_checks_what_it_is_given() -> None:
    shape = 2, 1, 2, 4
    good: list[Any] = [np.zeros((2, 12, 16), np.float32), np.zeros((2, 4, 8), np.float32), np.zeros(2, np.float32)]
    good += [np.ones(2, bool), np.zeros((2, 2), np.int8)]
    _kernel.motion_search(shape, *good)
    for at, message in enumerate(("map", "now", "weights", "active", "vectors")):
        short = [part.ravel()[1:].copy() if i == at else part for i, part in enumerate(good)]
        with pytest.raises(ValueError, match=f"{message}: expected"):
            _kernel.motion_search(shape, *short)
    with pytest.raises(ValueError, match="blocks of 4 or 8"):
        _kernel.motion_search((2, 1, 2, 5), *good)
