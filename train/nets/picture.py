"""Pictures to latents and back: a linear path that starts as the Karhunen-Loeve transform, and nets beside it.

    x [N,3,H,W] in 0..1 -> linear 16x16 ------------------------------------------+-> y [N,192,H/16,W/16]
                        -> 64@H/4 -> blocks -> 128@H/8 -> blocks -> 192@H/16 -----+
    y -> linear 16x16 --------------------------------------------------------------+-> x
      -> 128@H/8 -> blocks -> 64@H/4 -> blocks -> 48@H/4, shuffled to 3@H ----------+

The nets start silent, so training begins at the best linear codec. `context` is what is known beside the picture,
of the size of y: what the layers below it say of the same place.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.nets.blocks import down, nearness, quiet, stack, through, up

STRIDE = 16
"""Pixels of a latent's cell, each way."""
PATCH = 3 * STRIDE**2
NUDGE = 0.1
"""How much slower the linear paths learn than the nets."""


class Depth(NamedTuple):
    """Residual blocks at a quarter and at an eighth of the picture's size."""

    quarter: int
    eighth: int = 2


Depths = tuple[Depth, Depth]
"""Of an analysis and a synthesis."""
USUAL: Depths = Depth(2), Depth(3)


class Linear(nn.Module):
    """A fixed matrix [outputs, inputs], a slow correction to it, and gains per latent channel."""

    def __init__(self, inputs: int, outputs: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.zeros(outputs, inputs))
        self.change = nn.Parameter(torch.zeros(outputs, inputs))
        self.gain = nn.Parameter(torch.zeros(channels))
        self.rows = outputs == channels
        """Whether the latent channels are the matrix's rows, or its columns."""

    def weight(self) -> Tensor:
        """The matrix as a 1x1 convolution's weight."""
        gain = torch.exp(self.gain)
        matrix = self.fixed + NUDGE * self.change * self.fixed.abs().mean()
        return (matrix * (gain[:, None] if self.rows else gain))[..., None, None]

    def forward(self, x: Tensor) -> Tensor:
        """The matrix applied at every place, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), self.weight())


class Analysis(nn.Module):
    """x [N,3,H,W] in 0..1 (H and W multiples of 16) -> y [N,channels,H/16,W/16]."""

    def __init__(
        self, channels: int = 192, context: int = 0, depth: Depth | None = USUAL[0], told: bool = False
    ) -> None:
        """Without depth linear; `told` of the step if it is to see more in a picture where that is finer."""
        super().__init__()
        self.linear = Linear(PATCH, channels, channels)
        self.register_buffer("reach", torch.ones(channels, 1, 1))
        """The channel's spread: what the nets add is in units of it."""
        self.depth, self.told = depth, told
        if depth is None:
            return
        self.quarter = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, 64, 3, padding=1), *stack(64, depth.quarter, told)
        )
        self.eighth = nn.Sequential(down(64, 128), *stack(128, depth.eighth, told))
        self.leave = quiet(nn.Conv2d(512, channels, 1))
        self.hear = quiet(nn.Conv2d(context, channels, 1)) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None, step: Tensor | None = None) -> Tensor:
        """Return the latent; `step` [N] is what it will be divided by."""
        x = x - 0.5
        linear = self.linear(F.pixel_unshuffle(x, STRIDE))
        if self.depth is None:
            return linear
        near = nearness(step) if self.told else None
        fine = through((*self.quarter, *self.eighth), x * 4, near)
        nets = self.leave(F.pixel_unshuffle(F.relu(fine), 2))
        if self.hear is not None:
            nets = nets + self.hear(context)
        return linear + nets.float() * self.reach


class Synthesis(nn.Module):
    """y [N,channels,H/16,W/16] -> x [N,3,H,W], 0..1 but for what overshoots."""

    def __init__(
        self, channels: int = 192, context: int = 0, depth: Depth | None = USUAL[1], told: bool = False
    ) -> None:
        """Without depth linear; `told` of the step if that is to say how sure a latent is."""
        super().__init__()
        self.linear = Linear(channels, PATCH, channels)
        self.register_buffer("reach", torch.ones(channels, 1, 1))
        self.depth, self.told = depth, told
        if depth is None:
            return
        self.enter = up(channels, 128)
        self.hear = up(context, 128) if context else None
        if self.hear is not None:
            quiet(self.hear[0])
        self.eighth = stack(128, depth.eighth, told)
        self.quarter = nn.Sequential(up(128, 64), *stack(64, depth.quarter, told))
        self.leave = nn.Sequential(nn.ReLU(), quiet(nn.Conv2d(64, 48, 3, padding=1)), nn.PixelShuffle(4))

    def forward(self, y: Tensor, context: Tensor | None = None, step: Tensor | None = None) -> Tensor:
        """Return the picture; `step` [N] is what the latent was divided by."""
        y = y.float()
        linear = F.pixel_shuffle(self.linear(y), STRIDE) + 0.5
        if self.depth is None:
            return linear
        known = self.enter(y / self.reach)
        if self.hear is not None:
            known = known + self.hear(context)
        near = nearness(step) if self.told else None
        nets = self.leave(through((*self.eighth, *self.quarter), known, near))
        return linear + 0.25 * nets.float()


def depths_of(weights: Collection[str], prefix: str = "") -> Depths:
    """Those of the picture layer whose weights' names begin so."""

    def blocks(where: str) -> int:
        return sum(name.startswith(f"{prefix}{where}.") and name.endswith(".enter.weight") for name in weights)

    analysis, synthesis = (
        Depth(blocks(f"{net}.quarter"), blocks(f"{net}.eighth")) for net in ("analysis", "synthesis")
    )
    return analysis, synthesis


def told_of(weights: Collection[str], prefix: str = "") -> bool:
    """Whether its nets are told of the step."""
    return any(name.startswith(prefix) and name.endswith(".thresholds") for name in weights)


@torch.no_grad()
def start(analysis: Analysis, synthesis: Synthesis, patches: Tensor, scale: float) -> Tensor:
    """Give both the Karhunen-Loeve transform of patches [M,768] (pixel_unshuffle's order, 0..1) times `scale`.

    Returns the standard deviation of each channel.
    """
    return klt((analysis.linear, synthesis.linear), (analysis.reach, synthesis.reach), patches - 0.5, scale)


@torch.no_grad()
def klt(linear: tuple[Linear, Linear], reach: tuple[Tensor, Tensor], patches: Tensor, scale: float) -> Tensor:
    """Give an analysis's and a synthesis's linear paths the transform of patches [M,P] times `scale`, and set the
    reach of their nets. Returns the standard deviation of each channel.
    """
    patches = patches.double()
    second = patches.T @ patches / len(patches)  # about 0 and not the mean: the nets have no better idea at first
    values, vectors = torch.linalg.eigh(second)
    channels = len(reach[0])
    basis = vectors.flip(1)[:, :channels].T
    linear[0].fixed.copy_(basis * scale)
    linear[1].fixed.copy_(basis.T / scale)
    deviation = (values.flip(0)[:channels].clamp_min(1e-12).sqrt() * scale).float()
    octaves = torch.exp2(torch.log2(deviation).round()).clamp_min(1.0)[:, None, None]
    reach[0].copy_(octaves.clamp_max(8.0))
    reach[1].copy_(octaves)
    return deviation
