"""The bits of latents and what quantisation does to them, for one step size or many (Kamisli et al., DCC 2024).

A latent y with predicted mean and scale is coded as q = round((y - mean) / step) and comes back as

    y^ = mean + sign(q) * (|q| - offset(scale / step, step)) * step,    nothing taken off where q = 0

The offset draws reconstructions towards zero, where a bell-shaped density has more of its mass. Rounding has no
gradient: rates see uniform noise instead, reconstructions the gradient of a straight line.
"""

import math

import torch
from torch import Tensor, nn

from common.codec.values import CENTRE

LEAST_SCALE = 0.11
"""Of a scale in steps: below, the zero costs next to nothing anyway (Balle et al., ICLR 2018)."""
LEAST_CHANCE = 1e-9
LEAST_DEVIATION = 0.02
"""Of a z that a density is fitted to."""


def straight(x: Tensor) -> Tensor:
    """Round half away from zero, with the gradient of a straight line."""
    return x + (torch.sign(x) * torch.floor(x.abs() + 0.5) - x).detach()


def cheapest(v: Tensor, scale: Tensor, offset: Tensor, bit: float) -> Tensor:
    """Round to the neighbour that costs least, as encoders do (`common.codec.rounding`); gradients are a line's.

    It costs the squared distance from what it comes back as, and `bit` times its bits under a normal density of this
    scale. Large sizes are rounded to the nearest.
    """
    with torch.no_grad():
        size = v.abs()
        low = torch.floor(size)
        below, above = ((size - n + offset * (n > 0)).square() + bit * normal_bits(n, scale) for n in (low, low + 1))
        more = torch.where(low < CENTRE, above <= below, size - low >= 0.5)
        q = torch.sign(v) * (low + more)
    return v + (q - v).detach()


def noise(x: Tensor) -> Tensor:
    """What stands for rounding where a rate is estimated."""
    return torch.empty_like(x).uniform_(-0.5, 0.5)


class Clamp(torch.autograd.Function):
    """max(x, least), whose gradient still lets x rise from below."""

    @staticmethod
    def forward(ctx, x: Tensor, least: float) -> Tensor:
        ctx.save_for_backward(x < least)
        return x.clamp_min(least)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (below,) = ctx.saved_tensors
        return grad.masked_fill(below & (grad > 0), 0.0), None


def at_least(x: Tensor, least: float) -> Tensor:
    """max(x, least), whose gradient still lets x rise from below."""
    return Clamp.apply(x, least)


def normal_bits(v: Tensor, scale: Tensor) -> Tensor:
    """Bits of each v, in steps, under a normal density of this scale, in steps, integrated over one step."""
    v = v.abs()
    chance = _phi((0.5 - v) / scale) - _phi((-0.5 - v) / scale)
    return -torch.log2(at_least(chance, LEAST_CHANCE))


def _phi(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-x * math.sqrt(0.5))


class Prior(nn.Module):
    """A logistic density per channel, for latents nothing else is known of: [N,C,H,W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(channels, 1, 1))
        self.spread = nn.Parameter(torch.zeros(channels, 1, 1))
        """Logarithm of the logistic scale."""

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        """Make it as wide as z [N,C,H,W] is."""
        deviation = z.float().std((0, 2, 3)).clamp_min(LEAST_DEVIATION)
        self.spread.copy_(torch.log(deviation * math.sqrt(3) / math.pi)[:, None, None])

    def bits(self, z: Tensor, step: Tensor) -> Tensor:
        """Bits of each element, integrated over its step."""
        v, half = (z - self.centre).abs(), step / 2
        width = torch.exp(-self.spread)
        chance = torch.sigmoid((half - v) * width) - torch.sigmoid((-half - v) * width)
        return -torch.log2(at_least(chance, LEAST_CHANCE))


def silent(inputs: int, width: int) -> nn.Sequential:
    """A small net of `inputs` numbers to one, which is 0 at first."""
    last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last)


class Offsets(nn.Module):
    """The reconstruction offset of an element from its scale in steps and its step; 205 weights."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.body = silent(2, width)

    def forward(self, scale: Tensor, step: Tensor) -> Tensor:
        """Offsets in steps, 0 to 0.5, for scales in steps (any shape) and steps that broadcast with them."""
        known = torch.stack(torch.broadcast_tensors(torch.log2(scale), torch.log2(step)), -1)
        # Not F.relu: at the 0 where it starts that has no gradient, and would stay there.
        return 0.5 * torch.tanh(at_least(self.body(known * 0.25)[..., 0], 0.0))


class Step(nn.Module):
    """The hyper-latent's step from the latent's, at least half: 1 -> 10 -> 10 -> 1 on log2(step), 1 at first."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.body = silent(1, width)

    def forward(self, step: Tensor) -> Tensor:
        """Steps of the hyper-latent, as many as `step` has."""
        return at_least(torch.exp2(self.body(torch.log2(step)[..., None])[..., 0]), 0.5)


def dequantised(q: Tensor, offset: Tensor) -> Tensor:
    """Where q steps come back, in steps: drawn towards zero by the offset, except at zero."""
    return q - torch.sign(q.detach()) * offset
