"""What the learned codecs' networks are built of: blocks that a CPU's matrix units like.

Plain 3x3 convolutions at a quarter and an eighth of the picture's size, pixel (un)shuffles between the sizes, ReLU.
Nothing divides (GDN) and nothing is depthwise: those cost several such convolutions on a CPU.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip, nothing at first: [N,C,H,W] -> [N,C,H,W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 3, padding=1)
        quiet(self.leave)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus what the block adds."""
        return x + self.leave(F.relu(self.enter(F.relu(x))))


def stack(width: int, depth: int) -> nn.Sequential:
    """So many residual blocks."""
    return nn.Sequential(*(Residual(width) for _ in range(depth)))


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
