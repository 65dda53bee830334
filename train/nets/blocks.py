"""What the learned codecs' networks are built of: blocks that a CPU's matrix units like.

Plain 3x3 convolutions at a quarter and an eighth of the picture's size, pixel (un)shuffles between the sizes, ReLU.
Nothing divides (GDN) and nothing is depthwise: those cost several such convolutions on a CPU.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KNOTS = 6
"""Steps that a block can have thresholds for: 1 and every half octave up to 5.7."""


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip, nothing at first: [N,C,H,W] -> [N,C,H,W].

    `told` of the step, it has thresholds between the two that depend on it: what is noise to a coarse one is detail to
    a fine one.
    """

    def __init__(self, width: int, told: bool = False) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 3, padding=1)
        self.thresholds = nn.Parameter(torch.zeros(KNOTS, width)) if told else None
        quiet(self.leave)

    def forward(self, x: Tensor, near: Tensor | None = None) -> Tensor:
        """Return `x` plus what the block adds; `near` [N,KNOTS] is how near the step is to each knot."""
        inner = self.enter(F.relu(x))
        if self.thresholds is not None:
            inner = inner + (near @ self.thresholds)[..., None, None].to(inner.dtype)
        return x + self.leave(F.relu(inner))


def stack(width: int, depth: int, told: bool = False) -> nn.Sequential:
    """So many residual blocks."""
    return nn.Sequential(*(Residual(width, told) for _ in range(depth)))


def through(layers: Iterable[nn.Module], x: Tensor, near: Tensor | None) -> Tensor:
    """What layers make of `x`, blocks among them being told of the step."""
    for layer in layers:
        x = layer(x, near) if isinstance(layer, Residual) else layer(x)
    return x


def nearness(step: Tensor) -> Tensor:
    """[N] -> [N,KNOTS], of each step 1 in all: the two knots beside its logarithm share it."""
    place = (2 * torch.log2(step)).clamp(0, KNOTS - 1)
    return F.relu(1 - (place[:, None] - torch.arange(KNOTS, device=step.device)).abs())


def down(inputs: int, outputs: int, factor: int = 2) -> nn.Sequential:
    """[N,inputs,H,W] -> [N,outputs,H/factor,W/factor], every pixel looked at once."""
    return nn.Sequential(nn.PixelUnshuffle(factor), nn.Conv2d(inputs * factor**2, outputs, 1))


def up(inputs: int, outputs: int, factor: int = 2) -> nn.Sequential:
    """[N,inputs,H,W] -> [N,outputs,H*factor,W*factor]."""
    return nn.Sequential(nn.Conv2d(inputs, outputs * factor**2, 1), nn.PixelShuffle(factor))


def quiet(layer: nn.Conv2d) -> nn.Conv2d:
    """Let a convolution start at zero, so that what it is added to decides until it has learned something."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
