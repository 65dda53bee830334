"""Fusion of a decoded frame with the frame before it and the base layer's features: what `common.video.fusion` runs.

    cells [N,65,h,w] -> 3x3, 64 -> 3x3, 64 -> 3x3, 64 -> 3x3, 64 -> 3x3, 24 = what to add

A cell is 4 x 4 pixels, so a layer costs a sixteenth of its weights for a pixel: 10 kMAC in all. All layers are of the
kind that integer networks know (`train.integers`).
"""

from itertools import pairwise

from torch import Tensor, nn

from common.video.fusion import DIGITS, INPUTS
from common.video.planes import CHANNELS
from train.nets.blocks import quiet

WIDTH, DEPTH = 64, 4
UNITS = 64.0
"""What 1.0 is in the cells that enter."""
LIMIT = 255
"""The largest number that enters: a difference of two samples."""
SCALE = 16.0
"""Levels that 1.0 of the head's output stands for."""
OUTPUT_UNITS = SCALE * (1 << DIGITS)


class FusionNet(nn.Module):
    """Cells as `common.video.fusion.inputs` makes them, [N,65,h,w] -> the change of samples [N,24,h,w], in levels."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        widths = [INPUTS, *[width] * depth]
        layers = [part for at in pairwise(widths) for part in (conv(*at), nn.ReLU())]
        self.body = nn.Sequential(*layers)
        self.head = quiet(conv(width, CHANNELS))

    def forward(self, cells: Tensor) -> Tensor:
        """Return the change."""
        return SCALE * self.head(self.body(cells.clamp(-LIMIT, LIMIT) / UNITS)).float()


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, the edge repeated."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")
