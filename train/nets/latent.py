"""A latent and its mean-scale hyperprior: what is coded, with how many bits, and what comes back.

    y [N,C,H,W] -> hyper-analysis -> z [N,Z,H/4,W/4] -> hyper-decoder -> head -> mean, scale of every element

With one halving instead of two z is [N,Z,H/2,W/2]. The head can look at `context` beside: what is known of the place
from the layers below, p(y | below). A latent may be coded in passes (`train.nets.passes`), each with a head of its own.

The hyper-decoder is a chain of plain convolutions, ReLUs and pixel shuffles, because it ships as integers
(`train.integers`): both sides must derive the same probabilities. What it says of a channel is relative to that
channel's own spread, which `spread` holds: a power of two for each, so that integers lose nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.nets import rate
from train.nets.blocks import down, quiet
from train.nets.passes import Passes, Told, cells

LOWEST, HIGHEST = -4.0, 8.0
"""log2 of the scales that a hyper-decoder can name."""


class HyperAnalysis(nn.Module):
    """[N,C,H,W] -> [N,Z,H/2^halvings,W/2^halvings]; runs at the encoder alone."""

    def __init__(self, channels: int, hyper: int, width: int, halvings: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 3, padding=1, padding_mode="replicate")
        self.halve = nn.Sequential(*(nn.Sequential(*down(width, width), nn.ReLU()) for _ in range(halvings - 1)))
        self.leave = down(width, hyper)

    def forward(self, y: Tensor) -> Tensor:
        """Return z for `y` in units of its spread; large values are drawn together."""
        y = y / (1 + 0.25 * y.abs())
        return self.leave(self.halve(F.relu(self.enter(y))))


class HyperDecoder(nn.Module):
    """z (and context [N,K,H,W]) -> mean and log2 scale [N,C,H,W], both relative to the channel's spread.

    Without channels there is no head, and what is hidden is all that it says.
    """

    def __init__(self, channels: int, hyper: int, width: int, halvings: int, context: int) -> None:
        super().__init__()
        same = {"padding": 1, "padding_mode": "replicate"}
        layers: list[nn.Module] = [nn.Conv2d(hyper, width, 3, **same), nn.ReLU()]
        for _ in range(halvings):
            layers += [nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, **same), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = quiet(nn.Conv2d(width + context, 2 * channels, 1)) if channels else None

    def hidden(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return what heads look at [N,D,H,W]."""
        hidden = self.layers(z)
        return hidden if context is None else torch.cat((hidden, context.to(hidden.dtype)), 1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales."""
        assert self.head is not None
        mean, scale = self.head(self.hidden(z, context)).chunk(2, 1)
        return mean, scale


@dataclass(frozen=True)
class Coded:
    """A latent as it went through the code."""

    y: Tensor
    """Reconstructed [N,C,H,W]."""
    bits: Tensor
    """[N], of y."""
    side_bits: Tensor
    """[N], of z."""


class Latent(nn.Module):
    """Codes y [N,channels,H,W] by a hyperprior; `spread` [channels] is how far each channel reaches, roughly."""

    def __init__(
        self,
        channels: int,
        hyper: int = 64,
        width: int = 96,
        halvings: int = 2,
        context: int = 0,
        passes: Passes = (),
    ) -> None:
        super().__init__()
        self.analysis = HyperAnalysis(channels, hyper, width, halvings)
        self.decoder = HyperDecoder(0 if passes else channels, hyper, width, halvings, context)
        self.passes = nn.ModuleList(Told(each, width + context) for each in passes)
        self.prior = rate.Prior(hyper)
        self.offsets = rate.Offsets()
        self.hyper_step = rate.Step()
        self.register_buffer("spread", torch.ones(channels))
        self.bit = 0.0
        """What a bit is worth where y is rounded, in squared steps; 0: it is rounded to the nearest."""
        self.offset_on, self.hyper_step_on = True, True
        """What of variable rate is in use: an ablation switches them."""

    @torch.no_grad()
    def set_spread(self, deviation: Tensor) -> None:
        """The powers of two next to these standard deviations."""
        self.spread.copy_(torch.exp2(torch.log2(deviation).round()))

    def forward(self, y: Tensor, step: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Coded:
        """Code y [N,C,H,W] with a step for each frame [N]; where `mask` [N,1,H,W] is 0, nothing is coded: y^ is 0.

        In training the bits are those of noisy values, else of the rounded ones.
        """
        y, step = y.float(), step.float()
        spread = self.spread[:, None, None]
        z_step = (self.hyper_step(step) if self.hyper_step_on else torch.ones_like(step))[:, None, None, None]
        z = self.analysis(y / spread).float()
        centre = self.prior.centre
        coded = rate.straight((z - centre) / z_step) * z_step + centre
        side = self.prior.bits(z + rate.noise(z) * z_step if self.training else coded, z_step)
        step = step[:, None, None, None]
        if self.passes:
            decoded, bits = self._in_passes(y, self.decoder.hidden(coded, context), step)
        else:
            decoded, bits = self._known(y, *self.decoder(coded, context), step, spread)
        if mask is not None:
            bits, decoded = bits * mask, decoded * mask
        return Coded(decoded, bits.sum((1, 2, 3)), side.sum((1, 2, 3)))

    def _known(self, y: Tensor, mean: Tensor, octaves: Tensor, step: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """What comes back of channels with these means and log2 scales, and their bits [N,C,H,W]."""
        mean = mean.float() * spread
        scale = torch.exp2((octaves.float() + torch.log2(spread)).clamp(LOWEST, HIGHEST))
        v, scale = (y - mean) / step, rate.at_least(scale / step, rate.LEAST_SCALE)
        offset = self.offsets(scale, step) if self.offset_on else torch.zeros_like(scale)
        q = rate.cheapest(v, scale, offset, self.bit) if self.bit else rate.straight(v)
        bits = rate.normal_bits(v + rate.noise(v) if self.training else q, scale)
        return rate.dequantised(q, offset) * step + mean, bits

    def _in_passes(self, y: Tensor, hidden: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The same of all channels, one pass after the other."""
        spread = self.spread[:, None, None]
        decoded, bits = y[:, :0], y[:, :0]
        for told in self.passes:
            first, end, parity = told.of
            part = slice(first, end)
            state = (decoded / spread[: told.of.seen]).to(hidden.dtype)
            back, cost = self._known(y[:, part], *told(hidden, state), step, spread[part])
            here = cells(parity, *y.shape[2:]).to(y.device)
            back, cost = back * here, cost * here
            if decoded.shape[1] == end:  # the other colour of the checkerboard came before
                back, cost = decoded[:, part] + back, bits[:, part] + cost
            decoded, bits = (torch.cat((all_[:, :first], new), 1) for all_, new in ((decoded, back), (bits, cost)))
        return decoded, bits
