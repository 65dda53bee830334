"""A trained denoising codec as layers of a bundle: `clean`, the picture without its noise, and `noisy` above it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.noise import noisy
from common.layers import CLEAN, NOISY
from train.bundles import pictures
from train.bundles.pictures import (
    FIXED,
    PICTURE,
    Ends,
    Pixels,
    Sided,
    Tables,
    analysed,
    counted_at,
    of_layer,
)
from train.latents import Example
from train.nets.denoise import Denoise
from train.noise import drawn

SEED = 0
SHIFT = 0.5
"""What stands for no difference where the noisy layer was trained: it takes and gives pictures."""


class Difference(nn.Module):
    """What an analysis makes of a difference [N,3,H,W] in -1..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, r: Tensor) -> Tensor:
        """Return the latent."""
        y: Tensor = self.network(r + SHIFT)
        return y


class Added(nn.Module):
    """What a synthesis adds to the clean picture, [N,3,H,W]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor) -> Tensor:
        """Return the difference."""
        x: Tensor = self.network(y)
        return x - SHIFT


@dataclass(frozen=True)
class Denoising:
    """The codec with its weights as they ship, and the photos that tables are counted on; noise is added here."""

    model: Denoise
    pictures: Sequence[Pixels]

    def networks(self) -> Sided:
        """Three for each layer. The edge codes the noisy layer beside what the cloud will have, so it needs both."""
        x, clean = pictures.small(next(self._seen())), Ends.of(self.model.clean)
        upper = Ends(Difference(self.model.noisy.analysis), Added(self.model.noisy.synthesis), "r")
        r = x - self.model.clean(x, torch.ones(1))[0]
        return of_layer(CLEAN, clean, self.model.clean.latent, x, "both") | of_layer(
            NOISY, upper, self.model.noisy.latent, r
        )

    def arrays(self) -> Tables:
        """Of both layers, counted on noisy photos; the upper one above the lower one of the same quality."""
        clean, seen = self.model.clean, list(self._seen())
        lows = [analysed(clean, seen[number], level) for number, level in counted_at(len(seen))]
        found = pictures.tables(clean.latent, lows, CLEAN)
        by = pictures.coder(found, CLEAN)
        highs = []
        for number, x in enumerate(seen):
            level = number % len(PICTURE.levels)  # one each, for these latents are large
            fixed = pictures.decoded(by, clean.latent, analysed(clean, x, level), level)
            highs.append(self._upper(x, torch.from_numpy(fixed).float() / FIXED, level))
        return found | pictures.tables(self.model.noisy.latent, highs, NOISY)

    def layers(self) -> list[dict[str, Any]]:
        """Both."""
        return [pictures.layer(CLEAN, 1, CLEAN, PICTURE), pictures.layer(NOISY, 2, NOISY, PICTURE)]

    def _upper(self, x: Tensor, y: Tensor, level: int) -> Example:
        """What is left of x [1,3,h,w] above a decoded latent y [C,h',w']."""
        step = torch.tensor([PICTURE.step(PICTURE.middle(level))])
        clean = self.model.clean.synthesis(y[None], step=step)
        return pictures.example(self.model.noisy.analysis(x - clean + SHIFT)[0], level)

    def _seen(self) -> Iterator[Tensor]:
        """The photos with noise upon them, the same whenever they are asked for."""
        for number, picture in enumerate(self.pictures):
            rng = np.random.default_rng((SEED, number))
            sigma, gain = drawn(rng)
            yield pictures.planes(noisy(picture, sigma, rng, gain))
