"""A clean picture out of a noisy one, and the noise upon it (Ranjbar Alvar et al., 2022).

noisy x -> clean layer -> y1 -> clean^
x - clean^ -> noisy layer -> y2 -> what is added to clean^: the noise, and what was taken for it
"""

import torch
from torch import Tensor, nn

from train.nets.passes import Passes, grouped
from train.nets.picture import PATCH, Depth, Depths
from train.nets.scalable import PictureLayer

DEPTHS = Depth(10, 6), Depth(9, 7)
"""More blocks than the picture layer's: noise is to be told from texture."""
PASSES = grouped(6, 16, 32, 64, 192, checkered=4)
HYPER = 32, 48
"""Channels of the noise's z, and of the networks around it: it is much the same everywhere."""


class Denoise(nn.Module):
    """Both layers. Noise has no structure: the upper layer keeps as many channels as a cell has values."""

    def __init__(
        self,
        channels: int = 192,
        noise_channels: int = PATCH,
        depths: Depths = DEPTHS,
        passes: Passes = PASSES,
        told: bool = True,
    ) -> None:
        super().__init__()
        self.clean = PictureLayer(channels, depths=depths, passes=passes, told=told)
        self.noisy = PictureLayer(noise_channels, linear=True, hyper=HYPER)  # nor anything for nets to find

    def forward(self, x: Tensor, clean_step: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Code noisy pictures [N,3,H,W] in 0..1: clean^, noisy^, and the bits of each layer [N]."""
        with torch.no_grad():
            clean, clean_bits = self.clean(x, clean_step)
        rest, bits = self.noisy(x - clean + 0.5, step)
        return clean, clean + rest - 0.5, clean_bits, bits
