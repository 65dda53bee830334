"""Rows of a latent coder: always valid, close to the entropy, and what they are said to cost is what they cost."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from common.codec.values import Decoder, Rows, Segment  # noqa: E402
from train import rows  # noqa: E402

REACH = 2047


def entropy(chances):
    return float(-(chances * np.log2(np.maximum(chances, 1e-300))).sum())


@pytest.mark.parametrize("scale", [0.11, 0.5, 1.0, 3.0, 12.0, 60.0, 190.0])
def test_a_bell_costs_little_more_than_its_entropy(scale):
    chances = rows.normal(scale, REACH)
    bits, frequency = rows.row(chances / chances.sum())
    assert frequency.sum() == rows.TOTAL
    assert frequency.min() >= 1
    assert rows.cost(chances, bits, frequency) <= entropy(chances) * 1.01 + 0.02


@pytest.mark.parametrize("scale", [0.3, 2.0, 40.0])
def test_the_cost_is_that_of_real_bytes(scale):
    random = np.random.default_rng(0)
    chances = rows.logistic(scale, REACH)
    chances = chances / chances.sum()
    bits, frequency = rows.row(chances)
    values = random.choice(np.arange(-REACH, REACH + 1), 50_000, p=chances).astype(np.int32)
    coder = Rows(np.array([bits], np.uint8), frequency[None])
    index = np.zeros(len(values), np.uint16)
    data = coder.encode([Segment(values, index)])
    np.testing.assert_array_equal(Decoder(data, coder).take(index), values)
    counted = np.bincount(values + REACH, minlength=2 * REACH + 1) / len(values)
    expected = rows.cost(counted, bits, frequency)
    assert 8 * len(data) / len(values) == pytest.approx(expected, rel=0.002, abs=0.005)


def test_few_values_lean_on_the_prior_and_many_do_not():
    prior = rows.normal(1.0, REACH)
    counts = np.zeros_like(prior)
    counts[REACH + 5] = 1.0
    assert rows.leaning(counts, prior, 200)[REACH + 5] < 0.01
    assert rows.leaning(counts * 1e6, prior, 200)[REACH + 5] > 0.99


def test_a_row_is_silent_where_what_is_dropped_is_cheap():
    chances = rows.normal(0.12, REACH)
    assert (rows.row(chances, 0.0)[1] == rows.SILENT).all()
    assert (rows.row(chances)[1] != rows.SILENT).any()
    bits, frequencies = rows.rows([chances, chances], np.array([0.0, 1.0]))
    assert Rows(bits, frequencies).silent.tolist() == [True, False]
