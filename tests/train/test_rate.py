"""Bits, offsets and steps of latents."""

import math

import numpy as np
import pytest
import torch

from common.codec import rounding
from common.codec.values import Rows
from train import rows
from train.nets import rate
from train.nets.latent import Latent


def test_bits_are_those_of_the_normal_density_over_one_step() -> None:
    values, scale = torch.tensor([0.0, 1.0, -3.0]), torch.tensor([0.7, 2.0, 1.5])
    for value, spread, bits in zip(values, scale, rate.normal_bits(values, scale), strict=True):
        normal = torch.distributions.Normal(0.0, float(spread))
        chance = normal.cdf(value + 0.5) - normal.cdf(value - 0.5)
        assert float(bits) == pytest.approx(-math.log2(float(chance)), rel=1e-4)


def test_the_cheapest_is_the_nearest_where_bits_are_worth_nothing() -> None:
    v, scale = torch.randn(500) * 4, torch.ones(500)
    assert torch.equal(rate.cheapest(v, scale, torch.zeros(500), 0.0), rate.straight(v))


@pytest.mark.parametrize("offset", [-0.06, 0.0, 0.15])
def test_the_cheapest_is_what_encoders_take(offset: float) -> None:
    bit, widths = 0.1, (0.7, 1.0, 2.5, 6.0)
    table = Rows(*rows.rows([rows.normal(width, 2047) for width in widths]))
    given = np.full((1, len(widths)), round(offset * 1024), np.int16)
    edges = rounding.cheapest(table, given, bit)[0]
    v = torch.linspace(0, 3 * max(widths), 6001)
    for width, threshold in zip(widths, edges, strict=True):
        whole = v.int().numpy()
        up = v.numpy() - whole >= threshold[np.minimum(whole, rounding.SIZES - 1)]
        wanted = torch.from_numpy(whole + up)
        likely = v < 3 * width  # beyond, rows reach further than the bell
        given_ = torch.full_like(v, width), torch.full_like(v, offset)
        taken, near = rate.cheapest(v, *given_, bit), rate.straight(v)
        assert (taken != wanted)[likely].float().mean() < 0.02
        assert torch.equal(rate.cheapest(-v, *given_, bit), -taken)
        if width <= 1 and offset <= 0:  # an offset draws thresholds back to the middle
            assert (near != wanted)[likely].float().mean() > 0.04, "the nearest would do"


def test_the_cheapest_lets_gradients_through() -> None:
    v = torch.tensor([0.6, -1.4], requires_grad=True)
    rate.cheapest(v, torch.ones(2), torch.zeros(2), 0.08).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [1, 1]


def test_chances_of_all_values_sum_to_one() -> None:
    values = torch.arange(-60.0, 61.0)
    assert torch.exp2(-rate.normal_bits(values, torch.full_like(values, 5.0))).sum() == pytest.approx(1, abs=1e-4)


def test_a_prior_with_a_wider_step_needs_fewer_bits() -> None:
    prior = rate.Prior(3)
    z = torch.zeros(2, 3, 4, 4)
    one, four = (prior.bits(z, torch.tensor(step)).sum() for step in (1.0, 4.0))
    assert four < one


def test_prior_bits_sum_to_one_for_any_step() -> None:
    prior = rate.Prior(1)
    for step in (0.5, 1.0, 3.0):
        grid = (torch.arange(-100.0, 101.0) * step).view(-1, 1, 1, 1)
        chances = torch.exp2(-prior.bits(grid, torch.tensor(step))).detach()
        assert float(chances.sum()) == pytest.approx(1, abs=1e-4)


def test_the_prior_learns_under_every_step() -> None:
    """The gradient of a variable step's bits reaches the density: a known trap."""
    prior = rate.Prior(2)
    prior.bits(torch.randn(1, 2, 4, 4), torch.tensor(2.0)).sum().backward()
    assert prior.spread.grad is not None
    assert prior.spread.grad.abs().min() > 0


def test_rounding_is_half_away_from_zero_with_a_straight_gradient() -> None:
    x = torch.tensor([0.5, -0.5, 2.49, -2.51], requires_grad=True)
    rounded = rate.straight(x)
    assert rounded.tolist() == [1.0, -1.0, 2.0, -3.0]
    rounded.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 4


def test_offsets_draw_towards_zero_and_leave_zero_alone() -> None:
    q = torch.tensor([0.0, 1.0, -2.0])
    assert torch.allclose(rate.dequantised(q, torch.tensor(0.25)), torch.tensor([0.0, 0.75, -1.75]))


def test_offsets_start_at_nothing_and_learn() -> None:
    offsets = rate.Offsets()
    optimiser = torch.optim.Adam(offsets.parameters(), 0.01)
    scale = torch.linspace(0.2, 3, 50)
    assert not offsets(scale, torch.ones(50)).any()
    for _ in range(200):
        optimiser.zero_grad()
        (offsets(scale, torch.ones(50)) - 0.2).square().mean().backward()
        optimiser.step()
    assert (offsets(scale, torch.ones(50)) - 0.2).abs().max() < 0.05


def test_offsets_stay_between_nothing_and_half_a_step() -> None:
    net = rate.Offsets()
    torch.nn.init.normal_(net.body[-1].weight, std=30.0)
    offsets = net(torch.rand(1000) * 10 + 0.1, torch.rand(1000) * 8 + 1)
    assert offsets.min() >= 0
    assert offsets.max() <= 0.5


@pytest.mark.parametrize("halvings", [1, 2])
def test_outside_the_mask_nothing_is_coded(halvings: int) -> None:
    torch.manual_seed(0)
    latent = Latent(8, hyper=4, width=8, halvings=halvings).eval()
    y, mask = torch.randn(1, 8, 8, 8) * 4, torch.zeros(1, 1, 8, 8)
    step = torch.ones(1)
    with torch.no_grad():
        nothing = latent(y, step, mask)
        mask[..., :4] = 1
        half, whole = latent(y, step, mask), latent(y, step)
    assert nothing.bits == 0
    assert not nothing.y.any()
    assert 0 < half.bits < whole.bits
    assert torch.equal(half.y[..., :4], whole.y[..., :4])


def test_a_finer_step_costs_bits_and_gives_a_smaller_error() -> None:
    torch.manual_seed(0)
    latent = Latent(8, hyper=4, width=8).eval()
    y = torch.randn(1, 8, 8, 8) * 4
    with torch.no_grad():
        coarse, fine = latent(y, torch.tensor([2.0])), latent(y, torch.tensor([0.5]))
    assert fine.bits > coarse.bits
    assert (fine.y - y).abs().max() <= 0.25 + 1e-5 < (coarse.y - y).abs().max() <= 1 + 1e-5
