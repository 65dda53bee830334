"""The common descent direction."""

import pytest
import torch

from train.descent import common, shares


@pytest.mark.parametrize("seed", range(5))
def test_no_objective_gets_worse(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    gradients = [[torch.randn(7, 3, generator=random), torch.randn(5, generator=random)] for _ in range(4)]
    mixed, weights = common(gradients)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    flat = torch.cat([part.flatten() for part in mixed])
    for gradient in gradients:
        assert flat @ torch.cat([part.flatten() for part in gradient]) >= -1e-4


def test_two_gradients_have_a_closed_form() -> None:
    first, second = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 2.0])
    both = torch.stack([first, second])
    expected = ((second - first) @ second / (second - first).square().sum()).clamp(0, 1)
    assert shares(both @ both.T)[0] == pytest.approx(float(expected), abs=1e-4)


def test_of_opposed_gradients_nothing_is_left() -> None:
    mixed, _ = common([[torch.tensor([2.0, 0.0])], [torch.tensor([-5.0, 0.0])]])
    assert mixed[0].norm() < 1e-3


def test_a_large_gradient_does_not_count_more() -> None:
    mixed, _ = common([[torch.tensor([100.0, 0.0])], [torch.tensor([0.0, 0.01])]])
    assert mixed[0][0] == pytest.approx(float(mixed[0][1]), rel=1e-3)
