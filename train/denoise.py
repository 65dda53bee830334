"""Training of joint denoising and compression (Ranjbar Alvar et al., 2022): a clean picture out of a noisy one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.noise import drawn, noisy
from train.pixels import PixelTask, step_of

CLEANEST = 0.0225
"""The finest lambda: beyond, bits would be spent on what is left of the noise."""
COARSEST = 0.0018


class CleanTask(PixelTask):
    """Noisy crops in, rate + lambda * distance from the clean ones out; lambda is drawn for every step."""

    def batch(self, step: int, progress: float) -> Any:
        """Clean and noisy crops uint8 [B,256,256,3]."""
        rng = np.random.default_rng((self.seed, step))
        rows = (step * self.size + np.arange(self.size)) % len(self.pool)
        clean = self.pool.pixels[rows]
        seen = np.stack([noisy(each, sigma, rng, gain) for each in clean for sigma, gain in [drawn(rng)]])
        return torch.from_numpy(clean), torch.from_numpy(seen)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Bits a pixel and the weighted squared error."""
        rng = np.random.default_rng((self.seed, step, 1))
        weight = float(np.exp(rng.uniform(np.log(self.weights[0]), np.log(self.weights[-1]))))
        clean, seen = (picture(each) for each in batch)
        found, bits = self.model(seen, torch.full((len(seen),), step_of(weight), device=seen.device))
        error = (found - clean).square().mean() * 255**2
        return {"bits": bits.mean() / (seen.shape[2] * seen.shape[3]), "error": weight * error}


def picture(crops: Tensor) -> Tensor:
    """Crops uint8 [B,H,W,3] as x [B,3,H,W] in 0..1."""
    return crops.permute(0, 3, 1, 2).float().div(255).to(memory_format=torch.channels_last)
