"""Training of joint denoising and compression (Ranjbar Alvar et al., 2022): a clean picture out of a noisy one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.noise import noisy
from train.crops import Crops, pictures
from train.nets.denoise import Denoise
from train.nets.picture import PATCH, STRIDE, start
from train.nets.scalable import PictureLayer
from train.noise import drawn
from train.pixels import FINEST, KLT_STEP, PixelTask, step_of
from train.warm import warm

COARSEST = FINEST / 32
"""That of the coarsest quality; FINEST is that of the finest."""
TILT = 1.5
"""Lambdas are drawn e^TILT times as densely, by their logarithm, at COARSEST as at FINEST: what a finer step gains of a
noisy picture is many decibels there, and few here."""
NOISE = (0.0012, FINEST)
"""Lambdas of the noisy picture."""


class CleanTask(PixelTask):
    """Noisy crops in, rate + lambda * distance from the clean ones out; lambda is drawn for every crop."""

    def __init__(self, pool: Crops, model: PictureLayer, batch: int, seed: int) -> None:
        super().__init__(pool, model, (COARSEST, FINEST), batch, seed)

    def batch(self, step: int, progress: float) -> Any:
        """Clean and noisy crops uint8 [B,256,256,3], turned at random."""
        rng = np.random.default_rng((self.seed, step))
        rows = (step * self.size + np.arange(self.size)) % len(self.pool)
        clean = np.stack([np.rot90(each, rng.integers(4)) for each in self.pool.pixels[rows]])
        seen = np.stack([noisy(each, sigma, rng, gain) for each in clean for sigma, gain in [drawn(rng)]])
        return torch.from_numpy(clean), torch.from_numpy(seen)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Bits a pixel and the weighted squared error, of each crop by its `share`."""
        rng = np.random.default_rng((self.seed, step, 1))
        clean, seen = (pictures(each) for each in batch)
        count, reach = len(seen), np.log(self.weights[-1] / self.weights[0])
        even = (rng.permutation(count) + rng.random(count)) / count  # one in each of so many likely parts
        place = -np.log1p(even * np.expm1(-TILT)) / TILT
        weight = torch.from_numpy(self.weights[0] * np.exp(place * reach)).float().to(seen.device)
        found, bits = self.model(seen, step_of(weight))
        bits = bits / (seen.shape[2] * seen.shape[3])
        error = weight * (found - clean).square().mean((1, 2, 3)) * 255**2
        part = share((bits + error).detach(), weight)
        return {"bits": (part * bits).mean(), "error": (part * error).mean()}


def share(loss: Tensor, weight: Tensor) -> Tensor:
    """By how much a crop counts with this loss at this lambda, both [B].

    Fine pictures have some seven times the bits of coarse ones, rough ones some ten times those of smooth ones, and a
    tenth fewer bits are worth as much in either. So the fine count less, and the rough less, but more than that: where
    pictures of both kinds are coded the rough make up most of the bytes.
    """
    return (loss * (weight / (COARSEST * FINEST) ** 0.5) ** 0.75).rsqrt()


class NoiseTask:
    """The noisy picture above the clean one, whose layer stays as it is; both steps are drawn for every step."""

    def __init__(self, pool: Crops, model: Denoise, batch: int, seed: int) -> None:
        self.model = model
        self.crops = CleanTask(pool, model.clean, batch, seed)
        self.seed = seed

    def batch(self, step: int, progress: float) -> Any:
        """Clean and noisy crops uint8 [B,256,256,3]."""
        return self.crops.batch(step, progress)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Bits a pixel and the weighted squared error."""
        rng = np.random.default_rng((self.seed, step, 1))
        seen = pictures(batch[1])
        clean, weight = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in ((COARSEST, FINEST), NOISE))
        steps = (torch.full((len(seen),), step_of(each), device=seen.device) for each in (clean, weight))
        _, found, _, bits = self.model(seen, *steps)
        error = (found - seen).square().mean() * 255**2
        return {"bits": bits.mean() / (seen.shape[2] * seen.shape[3]), "error": weight * error}


@torch.no_grad()
def denoise_layers(pool: Crops, clean: Path, count: int = 200, seed: int = 0) -> Denoise:
    """The family above a trained clean layer, its upper layer at the transform of what that leaves."""
    model = Denoise().eval()
    warm(model.clean, clean)
    model.clean.requires_grad_(False)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(pool), count, replace=False))
    patches = []
    for row in rows:
        sigma, gain = drawn(rng)
        seen = pictures(torch.from_numpy(noisy(pool.pixels[row], sigma, rng, gain))[None])
        found, _ = model.clean(seen, torch.ones(1))
        patched = torch.nn.functional.pixel_unshuffle(seen - found + 0.5, STRIDE)
        patches.append(patched.permute(0, 2, 3, 1).reshape(-1, PATCH))
    examples = torch.cat(patches)
    model.noisy.latent.set_spread(start(model.noisy.analysis, model.noisy.synthesis, examples, 255 / KLT_STEP))
    return model
