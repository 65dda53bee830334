"""Low and high frequencies apart: a base picture of the low ones, sharpened where the high ones are there, too.

    x -> wavelet -> low  [3,H/2]  -> linear 8x8 -------------------------------+-> y_low  [96,H/16]
                 |                -> 32@H/4 -> blocks -> 64@H/8 -> blocks -----+
                 |                      <-> exchange <->      <-> exchange
                 -> high [9,H/2]  -> 64@H/4 -> blocks -> 128@H/8 -> blocks ----+-> y_high [128,H/16]
                                  -> linear 8x8 -------------------------------+

The synthesis is the same backwards. Where y_high is not there it is 0, and the picture that of the low frequencies
(Choi et al., VCIP 2022). The probabilities of y_high know y_low, and y_high is coded in tiles that know nothing of
each other, so that any of them can be left out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.nets.blocks import down, quiet, stack, up
from train.nets.latent import Latent
from train.nets.passes import Passes, grouped
from train.nets.picture import Linear, klt
from train.nets.wavelet import BANDS, join, split

BLOCK = 8
"""Samples of a wavelet band in a latent's cell, each way."""
TILE = 4
"""Cells of y_high in a tile, each way."""
LOW, HIGH = 96, 128
"""Channels of the latents."""
FINE, COARSE = (32, 64), (64, 128)
"""Widths of the low and the high branch at a quarter and at an eighth of the picture's size."""
LOUD = 8.0
"""What the nets multiply high frequencies by, which are small."""
PASSES = grouped(6, 16, 32, LOW), grouped(8, 24, 56, HIGH)
CONTEXT = 32
REACH = 128.0
"""Of y_low, beyond which the integers that `Beside` ships as tell nothing apart."""


class Exchange(nn.Module):
    """What each branch adds to the other; nothing at first."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.rise, self.fall = quiet(nn.Conv2d(low, high, 1)), quiet(nn.Conv2d(high, low, 1))

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""
        return low + self.fall(F.relu(high)), high + self.rise(F.relu(low))


class Branches(nn.Module):
    """Blocks of both branches at one size, after an exchange."""

    def __init__(self, widths: tuple[int, int], depths: tuple[int, int]) -> None:
        super().__init__()
        self.exchange = Exchange(*widths)
        self.low, self.high = (stack(width, depth) for width, depth in zip(widths, depths, strict=True))

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""
        low, high = self.exchange(low, high)
        return self.low(low), self.high(high)


class FrequencyAnalysis(nn.Module):
    """x [N,3,H,W] in 0..1 (H and W multiples of 16) -> y_low [N,96,H/16,W/16], y_high [N,128,H/16,W/16]."""

    def __init__(self, low: int = LOW, high: int = HIGH) -> None:
        super().__init__()
        self.linear_low = Linear(3 * BLOCK**2, low, low)
        self.linear_high = Linear(3 * BANDS * BLOCK**2, high, high)
        self.enter_low = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, FINE[0], 3, padding=1))
        self.enter_high = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12 * BANDS, COARSE[0], 3, padding=1))
        self.quarter = Branches((FINE[0], COARSE[0]), (1, 2))
        self.halve_low, self.halve_high = down(*FINE), down(*COARSE)
        self.eighth = Branches((FINE[1], COARSE[1]), (2, 2))
        self.leave_low, self.leave_high = (
            quiet(nn.Conv2d(4 * FINE[1], low, 1)),
            quiet(nn.Conv2d(4 * COARSE[1], high, 1)),
        )
        self.register_buffer("reach_low", torch.ones(low, 1, 1))
        self.register_buffer("reach_high", torch.ones(high, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both latents."""
        with torch.autocast(x.device.type, enabled=False):
            low, high = split(x.float() - 0.5)
        fine, coarse = self.quarter(self.enter_low(low * 2), self.enter_high(high * LOUD))
        fine, coarse = self.eighth(self.halve_low(fine), self.halve_high(coarse))
        said_low = self.leave_low(F.pixel_unshuffle(F.relu(fine), 2)).float() * self.reach_low
        said_high = self.leave_high(F.pixel_unshuffle(F.relu(coarse), 2)).float() * self.reach_high
        y_low = self.linear_low(F.pixel_unshuffle(low, BLOCK)) + said_low
        return y_low, self.linear_high(F.pixel_unshuffle(high, BLOCK)) + said_high


class FrequencySynthesis(nn.Module):
    """y_low [N,96,h,w], y_high [N,128,h,w] or 0 where it is missing -> x [N,3,16h,16w], 0..1 but for overshoots."""

    def __init__(self, low: int = LOW, high: int = HIGH) -> None:
        super().__init__()
        self.linear_low = Linear(low, 3 * BLOCK**2, low)
        self.linear_high = Linear(high, 3 * BANDS * BLOCK**2, high)
        self.enter_low, self.enter_high = up(low, FINE[1]), up(high, COARSE[1])
        self.eighth = Branches((FINE[1], COARSE[1]), (2, 2))
        self.double_low, self.double_high = up(FINE[1], FINE[0]), up(COARSE[1], COARSE[0])
        self.quarter = Branches((FINE[0], COARSE[0]), (1, 2))
        self.leave_low = nn.Sequential(nn.ReLU(), quiet(nn.Conv2d(FINE[0], 12, 3, padding=1)), nn.PixelShuffle(2))
        self.leave_high = nn.Sequential(
            nn.ReLU(), quiet(nn.Conv2d(COARSE[0], 12 * BANDS, 3, padding=1)), nn.PixelShuffle(2)
        )
        self.register_buffer("reach_low", torch.ones(low, 1, 1))
        self.register_buffer("reach_high", torch.ones(high, 1, 1))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the picture."""
        low, high = low.float(), high.float()
        fine, coarse = self.enter_low(low / self.reach_low), self.enter_high(high / self.reach_high)
        fine, coarse = self.eighth(fine, coarse)
        fine, coarse = self.quarter(self.double_low(fine), self.double_high(coarse))
        band_low = F.pixel_shuffle(self.linear_low(low), BLOCK) + 0.25 * self.leave_low(fine).float()
        band_high = F.pixel_shuffle(self.linear_high(high), BLOCK) + 0.25 * self.leave_high(coarse).float()
        with torch.autocast(low.device.type, enabled=False):
            return join(band_low, band_high) + 0.5


class Beside(nn.Module):
    """What the probabilities of y_high see of y_low: [N,96,h,w] -> [N,32,h,w]; ships as integers."""

    def __init__(self, channels: int = LOW, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, CONTEXT, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )

    def forward(self, y: Tensor) -> Tensor:
        """Return the context of probabilities."""
        return self.layers(y.clamp(-REACH, REACH) / 16)


@dataclass(frozen=True)
class Shown:
    """Both pictures [N,3,H,W], and what their latents cost [N]."""

    base: Tensor
    full: Tensor
    low_bits: Tensor
    high_bits: Tensor


class Frequency(nn.Module):
    """Analysis, both latents and synthesis; pictures are multiples of 64 high and wide.

    `passes` are those of the low and the high latent; the high one's are passes in each of its tiles.
    """

    def __init__(self, low: int = LOW, high: int = HIGH, passes: tuple[Passes, Passes] = PASSES) -> None:
        super().__init__()
        self.analysis = FrequencyAnalysis(low, high)
        self.low = Latent(low, hyper=48, width=64, passes=passes[0])
        self.high = Latent(high, hyper=24, width=64, context=CONTEXT, passes=passes[1])
        self.below = Beside(low)
        self.synthesis = FrequencySynthesis(low, high)

    def forward(self, x: Tensor, step: Tensor, based: int | None = None) -> Shown:
        """Code pictures [N,3,H,W] with a step each [N]; the base is made of the first `based` of them, else of all."""
        low, high, low_bits, high_bits = self.code(*self.analysis(x), step)
        base = low[:based]
        both = self.synthesis(torch.cat((low, base)), torch.cat((high, torch.zeros_like(high[:based]))))
        return Shown(both[len(x) :], both[: len(x)], low_bits, high_bits)

    def code(self, y_low: Tensor, y_high: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both latents as they come back, and the bits of each [N]."""
        low = self.low(y_low, step)
        tiles = (folded(y) for y in (y_high, self.below(low.y)))
        count = (y_high.shape[2] // TILE) * (y_high.shape[3] // TILE)
        coded = self.high(next(tiles), step.repeat_interleave(count), context=next(tiles))
        high = unfolded(coded.y, y_high.shape[2], y_high.shape[3])
        bits = (coded.bits + coded.side_bits).view(len(y_low), count).sum(1)
        return low.y, high, low.bits + low.side_bits, bits


def folded(y: Tensor) -> Tensor:
    """[N,C,h,w] -> its tiles one after the other, [N * h/4 * w/4, C, 4, 4]."""
    n, c, h, w = y.shape
    return y.view(n, c, h // TILE, TILE, w // TILE, TILE).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, TILE, TILE)


def unfolded(tiles: Tensor, h: int, w: int) -> Tensor:
    """The same back."""
    c = tiles.shape[1]
    return tiles.view(-1, h // TILE, w // TILE, c, TILE, TILE).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)


@torch.no_grad()
def start(model: Frequency, pictures: Tensor, scale: float) -> None:
    """Let both branches begin at the Karhunen-Loeve transform of the bands of pictures [M,3,H,W] in 0..1."""
    ends = model.analysis, model.synthesis
    for branch, band in zip(("low", "high"), split(pictures - 0.5), strict=True):
        patches = F.pixel_unshuffle(band, BLOCK).permute(0, 2, 3, 1).flatten(0, 2)
        linear = tuple(getattr(end, f"linear_{branch}") for end in ends)
        reach = tuple(getattr(end, f"reach_{branch}") for end in ends)
        getattr(model, branch).set_spread(klt(linear, reach, patches, scale))
