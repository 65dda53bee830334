"""Passes of a latent: what the state says, what a pass may depend on, and which arrays are none.

Round trips, the reference and damage: test_latent.py, whose coders have passes, too.
"""

import tracemalloc
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.codec import latent as module
from common.codec import values
from common.codec.elements import NARROW, WIDEST, Cells
from common.codec.integers import RELU, SHUFFLE
from common.codec.latent import LatentCoder
from common.codec.latent_model import EXPONENTS
from common.codec.passes import ALL, EVEN, MOST_PASSES, ODD, in_spreads
from common.errors import BitstreamError
from tests.codec.latent_samples import (
    PARAMS,
    Arrays,
    Case,
    Order,
    case,
    cells_in,
    coder,
    coder_arrays,
    head_arrays,
    latent,
    net_arrays,
    reference,
)

BOARD: Order = [(0, 3, EVEN), (0, 3, ODD), (3, 8, ALL), (8, 12, EVEN), (8, 12, ODD)]
cases = st.builds(case, st.integers(0, 2**32), st.integers(200, 500), st.sampled_from([0, 3]), passes=st.just(True))


def board(seed: int, height: int, width: int, cells: Cells, context: int = 0) -> Case:
    of, rng = coder(seed, 12, 4, 1, context, BOARD), np.random.default_rng(seed)
    known = rng.integers(-5000, 5000, (context, height, width), np.int32) if context else None
    return Case(of, *latent(rng, of, height, width), cells, known, 320)


# ---- State ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_state_is_in_64ths_of_the_spread_to_the_nearest(exponent: int) -> None:
    rng = np.random.default_rng(0)
    fixed = np.concatenate(
        [rng.integers(-(1 << reach), 1 << reach, 20) for reach in range(24)] + [[0, WIDEST, -WIDEST]], dtype=np.int32
    )
    exact = [Fraction(value, 256) / Fraction(2) ** exponent * 64 for value in fixed.tolist()]
    expected = [max(-NARROW, min(NARROW, floor(value + Fraction(1, 2)))) for value in exact]
    assert in_spreads(fixed[None], np.array([exponent], np.int8))[0].tolist() == expected


def test_a_pass_depends_on_those_before_it_alone() -> None:
    """Other values of a channel, or of one colour: nothing changes in passes before, something does behind."""
    c = board(1, 8, 10, Cells(1, 2, 8, 9))
    odd = (np.arange(8)[:, None] + np.arange(10)) % 2 == (1 + 2 + ODD) % 2
    for number, (first, end, parity) in enumerate(BOARD):
        own = {EVEN: ~odd, ODD: odd, ALL: np.ones_like(odd)}[parity]
        y = c.y.copy()
        y[first:end] += 40 * np.exp2(c.coder.model.exponent[first:end].astype(np.float32))[:, None, None] * own
        changed = c._replace(y=y).encode()[1] != c.encode()[1]
        for other, (begin, stop, colour) in enumerate(BOARD):
            cells = {EVEN: ~odd, ODD: odd, ALL: np.ones_like(odd)}[colour]
            if other < number:
                assert not (changed[begin:stop] & cells).any()
            else:
                assert other > number + 1 or (changed[begin:stop] & cells).any()


@given(cases)
@settings(max_examples=30)
def test_cells_that_are_coded_know_nothing_of_where_they_lie(c: Case) -> None:
    """The same cells at the edge of a grid, if z tells all the same: the state goes on by its own edge."""
    rows, columns = c.cells.shape
    fold = 1 << c.coder.halvings
    assume(not any(edge % fold for edge in c.cells))
    c = c._replace(z=np.zeros_like(c.z) + c.coder.model.centre[:, None, None].astype(np.float32) / 64)
    part, z = np.ascontiguousarray(c.cells.within(c.y)), c.cells.halved(c.coder.halvings).within(c.z)
    beside = None if c.context is None else np.ascontiguousarray(c.cells.within(c.context))
    alone = Case(c.coder, part, np.ascontiguousarray(z), Cells(0, 0, rows, columns), beside, c.quality)
    assert np.array_equal(c.cells.within(c.encode()[1]), alone.encode()[1])


def test_a_single_cell_has_no_odd_ones() -> None:
    c = board(2, 4, 4, Cells(2, 1, 3, 2))
    payload, fixed = c.encode()
    assert np.array_equal(c.decode(payload).fixed, fixed)
    assert np.array_equal(c.decode(payload, reference(c.coder)).fixed, fixed)


# ---- One pass -------------------------------------------------------------------------------------------------------


def in_one_pass(arrays: Arrays, channels: int) -> Arrays:
    """The same, in the form that says that it is one."""
    head = "latent.head"
    moved = {f"latent.pass.0.head{name[len(head) :]}": arrays[name] for name in arrays if name.startswith(head)}
    rest = {name: array for name, array in arrays.items() if not name.startswith(head)}
    return rest | moved | {"latent.passes": np.array([[0, channels, ALL]], np.uint16)}


@pytest.mark.parametrize("context", [0, 3])
def test_all_in_one_pass_is_what_a_latent_without_passes_is(context: int) -> None:
    rng = np.random.default_rng(7)
    arrays = coder_arrays(rng, 9, 4, 2, context)
    one, other = (LatentCoder.from_params(PARAMS, each, "latent") for each in (arrays, in_one_pass(arrays, 9)))
    known = rng.integers(-5000, 5000, (context, 8, 12), np.int32) if context else None
    c = Case(one, *latent(rng, one, 8, 12), cells_in(rng, 8, 12), known, 300)
    payload, fixed = c.encode()
    assert c.encode(other)[0] == payload
    assert np.array_equal(c.decode(payload, other).fixed, fixed)


# ---- Large pictures -------------------------------------------------------------------------------------------------


def test_large_latents_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    c = board(3, 72, 58, Cells(3, 1, 71, 58), context=3)
    whole = c.encode()
    monkeypatch.setattr(module, "CHUNK", values.RUN)
    parts = c.encode()
    assert parts[0] == whole[0] and np.array_equal(parts[1], whole[1])
    assert np.array_equal(c.decode(parts[0]).fixed, whole[1])


def test_a_pass_of_few_channels_codes_all_of_a_large_picture() -> None:
    """More cells than a network takes in a row."""
    of, rng = coder(9, 12, 4, 1, order=[(0, 3, ALL), (3, 12, ALL)]), np.random.default_rng(9)
    c = Case(of, *latent(rng, of, 260, 256), Cells(0, 0, 257, 256), None, 320)
    payload, fixed = c.encode()
    assert np.array_equal(c.decode(payload).fixed, fixed)


def test_a_small_payload_of_a_large_picture_costs_little_memory() -> None:
    """As without passes, but for the state and what a pass is told of it."""
    order = [(first, first + 4, ALL) for first in range(0, 24, 4)]
    of = coder(5, 24, 4, 2, order=order)
    empty = PARAMS["default_quality"].to_bytes(2, "big") + bytes.fromhex("00010000" * 4)
    tracemalloc.start()
    with pytest.raises(BitstreamError):
        of.decode(empty, 256, 256, Cells(0, 0, 256, 256))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 24 * 24 * 256 * 256 + (32 << 20)


# ---- Arrays that are none -------------------------------------------------------------------------------------------


def arrays_of(order: Order = BOARD) -> Arrays:
    return coder_arrays(np.random.default_rng(0), 12, 4, 1, 2, order=order)


def test_what_a_coder_has() -> None:
    of = LatentCoder.from_params(PARAMS, arrays_of(), "latent")
    assert [(each.first, each.end, each.parity) for each in of.passes] == BOARD
    assert [each.seen for each in of.passes] == [0, 3, 3, 8, 12]
    assert [each.context is None for each in of.passes] == [True, False, False, False, False]
    assert of.context == 2


@pytest.mark.parametrize(
    "order",
    [
        [(0, 11, ALL)],
        [(0, 13, ALL)],
        [(1, 12, ALL)],
        [(0, 12, EVEN)],
        [(0, 12, ODD)],
        [(0, 12, 3)],
        [(0, 12, ODD), (0, 12, EVEN)],
        [(0, 12, EVEN), (0, 11, ODD)],
        [(0, 12, ALL), (0, 12, ODD)],
        [(0, 12, EVEN), (0, 12, ODD), (0, 12, ODD)],
        [(0, 12, EVEN), (0, 12, ALL)],
        [(0, 5, EVEN), (5, 12, ALL), (0, 5, ODD)],
        [(0, 5, ALL), (6, 12, ALL)],
        [(0, 5, ALL), (4, 12, ALL)],
        [(5, 12, ALL), (0, 5, ALL)],
        [(0, 0, ALL), (0, 12, ALL)],
        [(0, 12, ALL), (12, 12, ALL)],
        [(0, 14, ALL), (14, 12, ALL)],
    ],
)
def test_an_order_that_leaves_something_out_or_codes_it_twice_is_refused(order: Order) -> None:
    arrays = arrays_of() | {"latent.passes": np.array(order, np.uint16)}
    with pytest.raises(ValueError, match=r"latent\.passes: expected channels 0 to 12 in order"):
        LatentCoder.from_params(PARAMS, arrays, "latent")


@pytest.mark.parametrize(
    "passes",
    [
        np.array(BOARD, np.int32),
        np.array(BOARD, np.uint16).ravel(),
        np.array(BOARD, np.uint16)[:, :2],
        np.zeros((0, 3), np.uint16),
        np.array([[0, 12, 2]] * (MOST_PASSES + 1), np.uint16),
    ],
)
def test_passes_of_another_kind_are_refused(passes: Any) -> None:
    with pytest.raises(ValueError, match=r"latent.passes: expected uint16 \[1..32, 3\], got"):
        LatentCoder.from_params(PARAMS, arrays_of() | {"latent.passes": passes}, "latent")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda rng: net_arrays(rng, 3, [(4, 1, 0)], 4095, "head"), "latent.passes: expected no latent.head beside it"),
        (
            lambda rng: net_arrays(rng, 4, [(4, 3, RELU)], 4095, "pass.2.context"),
            "latent.pass.2.context: expected 3 inputs, a relu at last and no shuffle, got 4",
        ),
        (
            lambda rng: net_arrays(rng, 3, [(4, 3, 0)], 4095, "pass.2.context"),
            "latent.pass.2.context: expected 3 inputs, a relu at last",
        ),
        (
            lambda rng: net_arrays(rng, 8, [(8, 3, RELU | SHUFFLE)], 4095, "pass.3.context"),
            "latent.pass.3.context: expected 8 inputs, a relu at last and no shuffle",
        ),
        (
            lambda rng: net_arrays(rng, 3, [(4, 1, RELU), (10, 1, 0)], 4095, "pass.2.head"),
            "latent.pass.2.head: expected one 1x1 layer of",
        ),
        (
            lambda rng: net_arrays(rng, 50, [(10, 3, 0)], 4095, "pass.2.head"),
            "latent.pass.2.head: expected one 1x1 layer of",
        ),
        (
            lambda rng: net_arrays(rng, 9, [(6, 1, 0)], 4095, "pass.0.head"),
            "latent.pass.0.head: expected one 1x1 layer of 10 inputs or more, without a relu",
        ),
        (lambda rng: head_arrays(rng, 40, 6, "pass.2.head"), "latent.pass.2.head: expected 10 outputs, got 12"),
        (lambda rng: head_arrays(rng, 40, 5, "pass.2.head"), r"latent.pass.2.head: expected \d+ inputs, got 40"),
    ],
)
def test_networks_that_do_not_fit_are_named(made: Any, message: str) -> None:
    other = {f"latent.{name}": array for name, array in made(np.random.default_rng(0)).items()}
    with pytest.raises(ValueError, match=message):
        LatentCoder.from_params(PARAMS, arrays_of() | other, "latent")


@pytest.mark.parametrize("name", ["pass.1.context.kinds", "pass.4.head.kinds", "pass.0.head.0.bias"])
def test_missing_arrays_are_key_errors(name: str) -> None:
    arrays = arrays_of()
    del arrays[f"latent.{name}"]
    with pytest.raises(KeyError, match=f"latent.{name}"):
        LatentCoder.from_params(PARAMS, arrays, "latent")
