"""The cut's features to latents and back: the base layer's analysis and its latent-space transform (LST).

    features [N,C,H,W] -> linear on 4x4 patches ------------------------+-> y [N,channels,H/4,W/4]
                       -> 48@H -> block -> 96@H/2 -> block -> 1x1 ------+
    y -> linear ---------------------------------------------------------+-> features
      -> 128@H/2 -> blocks -> 64@H -> blocks -> 3x3 ---------------------+
                                            -> 1x1 -> context [N,32,H,W] for the picture layer

The linear paths start as the basis that calibration found for the transform codec: in the metric of the detector's
outputs, all frequencies and channels of a patch turned together. The nets start silent.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.codec import blocks
from common.codec.basis import Basis, project, synthesise
from common.codec.blocks import content_blocks
from common.codec.coefficients import step_of
from common.codec.window import Window
from train.nets.blocks import Residual, down, quiet, stack, up
from train.nets.picture import Linear

CONTEXT = 32
"""Channels of what a layer below tells the picture layer."""
PATCH = 4
"""Cells of the cut in a latent's, each way."""


class FeatureAnalysis(nn.Module):
    """features [N,C,H,W] (and those of layers below, decoded) -> y [N,channels,H/4,W/4]."""

    def __init__(self, features: int, channels: int, beside: int = 0) -> None:
        super().__init__()
        self.linear = Linear(features * PATCH**2, channels, channels)
        self.enter = nn.Sequential(nn.Conv2d(features + beside, 48, 3, padding=1), Residual(48))
        self.halve = nn.Sequential(down(48, 96), Residual(96))
        self.leave = quiet(nn.Conv2d(384, channels, 1))
        self.register_buffer("mean", torch.zeros(features, 1, 1))
        self.register_buffer("reach", torch.ones(channels, 1, 1))
        self.register_buffer("size", torch.ones(features, 1, 1))
        """The features' standard deviation."""

    def forward(self, features: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the latent; `beside` are the decoded features of the layers below."""
        centred = features - self.mean
        known = centred / self.size
        if beside is not None:
            known = torch.cat((known, (beside - self.mean) / self.size), 1)
            centred = features - beside
        fine = F.pixel_unshuffle(F.relu(self.halve(self.enter(known))), 2)
        return self.linear(F.pixel_unshuffle(centred, PATCH)) + self.leave(fine).float() * self.reach


class LatentTransform(nn.Module):
    """y [N,channels,H/4,W/4] (and the decoded features of the layers below) -> features [N,C,H,W]."""

    def __init__(self, features: int, channels: int, beside: int = 0) -> None:
        super().__init__()
        self.linear = Linear(channels, features * PATCH**2, channels)
        self.enter = nn.Sequential(up(channels, 128), *stack(128, 2))
        self.full = up(128, 64)
        self.merge = nn.Conv2d(64 + beside, 64, 1) if beside else None
        self.leave = nn.Sequential(*stack(64, 2), nn.ReLU(), quiet(nn.Conv2d(64, features, 3, padding=1)))
        self.tell = nn.Conv2d(64 + features, CONTEXT, 1)
        """Of the decoded features, too: what the nets alone say has next to no brightness in it."""
        self.register_buffer("mean", torch.zeros(features, 1, 1))
        self.register_buffer("reach", torch.ones(channels, 1, 1))
        self.register_buffer("size", torch.ones(features, 1, 1))

    def forward(self, y: Tensor, beside: Tensor | None = None, told: bool = True) -> tuple[Tensor, Tensor]:
        """Return the features, and the context; what learns by the context teaches the rest only if it was `told`."""
        y = y.float()
        linear = F.pixel_shuffle(self.linear(y), PATCH)
        nets = self.full(self.enter(y / self.reach))
        if self.merge is not None:
            assert beside is not None
            nets = self.merge(torch.cat((nets, ((beside - self.mean) / self.size).to(nets.dtype)), 1))
        nets = self.leave[:-1](nets)
        decoded = linear + (self.mean if beside is None else beside) + self.leave[-1](nets).float() * self.size
        known = torch.cat((nets, ((decoded - self.mean) / self.size).to(nets.dtype)), 1)
        return decoded, self.tell(known if told else known.detach())


@dataclass(frozen=True)
class Start:
    """A linear transform of patches to begin at: `forward` [P,C*16], `inverse` [C*16,P], `deviation` [P] of what comes.

    Patches are as pixel_unshuffle lays them out; `mean` and `size` [C] are the features' mean and deviation.
    """

    forward: Tensor
    inverse: Tensor
    deviation: Tensor
    mean: Tensor
    size: Tensor


@torch.no_grad()
def start(analysis: FeatureAnalysis, transform: LatentTransform, at: Start) -> Tensor:
    """Begin there, with as many planes as there are channels. Returns the standard deviation of each."""
    channels = len(analysis.reach)
    analysis.linear.fixed.copy_(at.forward[:channels])
    transform.linear.fixed.copy_(at.inverse[:, :channels])
    reach = torch.exp2(torch.log2(at.deviation[:channels]).round()).clamp_min(0.25)[:, None, None]
    for net in (analysis, transform):
        net.mean.copy_(at.mean[:, None, None])
        net.size.copy_(at.size[:, None, None])
    analysis.reach.copy_(reach.clamp_max(4.0))
    transform.reach.copy_(reach)
    return at.deviation[:channels]


def start_of(basis: Basis, unit: int, size: Tensor) -> Start:
    """The transform codec's basis, a step of 1 being its step at quality `unit`; `size` [C] as in `Start`."""
    forward, inverse = matrices(basis)
    step = step_of(unit)
    deviation = torch.exp2(torch.from_numpy(basis.scales.astype(np.float32)) / 64) / step
    mean = torch.from_numpy(basis.mean)
    return Start(torch.from_numpy(forward / step), torch.from_numpy(inverse * step), deviation, mean, size)


def matrices(basis: Basis) -> tuple[np.ndarray, np.ndarray]:
    """The basis on one patch, as matrices: forward [P, C*16] and inverse [C*16, P], pixel_unshuffle's order."""
    channels = basis.shape[0]
    values = channels * PATCH**2
    patch = content_blocks(Window(0, 0, PATCH, PATCH, PATCH, PATCH), PATCH, PATCH, PATCH)
    level = np.zeros(channels, np.float32)
    units = np.eye(values, dtype=np.float32).reshape(values, channels, PATCH, PATCH)
    planes = basis.scales.size
    forward = np.stack([project(blocks.spectrum(unit, level, patch), basis, planes)[:, 0] for unit in units], 1)
    alone = Basis(
        basis.block, level, np.zeros((channels, PATCH, PATCH), np.float16), basis.frequency, basis.forward,
        basis.inverse, basis.scale, basis.turn, basis.unturn, basis.turned,
    )  # fmt: skip
    inverse = np.stack(
        [synthesise(unit[:, None], alone, patch).ravel() for unit in np.eye(planes, dtype=np.float32)], 1
    )
    return forward, inverse
