"""Training of the picture layer: crops in, rate and distortion out, for one step size or many."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from train.crops import Crops, pictures
from train.nets.picture import PATCH, STRIDE, start
from train.nets.scalable import PictureLayer

FINEST = 0.045
"""The finest lambda: bits a pixel + lambda * squared error (0..255). It goes with a step of 1."""
LAMBDAS = (0.0018, 0.0035, 0.0067, 0.0112, 0.0162, 0.0225, 0.032, FINEST)
"""Those of a variable rate's training."""
OBJECTIVES = 4
Weight = TypeVar("Weight", float, Tensor)
KLT_STEP = 13.9
"""Of an orthonormal transform of 0..255 at FINEST: sqrt(12 D), D = 1 / (2 ln 2 lambda)."""


def step_of(weight: Weight) -> Weight:
    """The step that goes with a lambda: distortion grows with the square of one and falls with the other."""
    return (FINEST / weight) ** 0.5


def picture_layer(examples: Tensor, channels: int = 192) -> PictureLayer:
    """A picture layer that stands where the Karhunen-Loeve transform of patches [M,768] in 0..1 stands."""
    layer = PictureLayer(channels)
    layer.latent.set_spread(start(layer.analysis, layer.synthesis, examples, 255 / KLT_STEP))
    return layer


class PixelTask:
    """Rate + lambda * distortion on crops, lambda drawn from `weights` for each step."""

    def __init__(self, pool: Crops, model: PictureLayer, weights: Sequence[float], batch: int, seed: int) -> None:
        self.pool, self.model, self.weights, self.size, self.seed = pool, model, weights, batch, seed

    def batch(self, step: int, progress: float) -> Any:
        """Crops uint8 [B,256,256,3], each once before any comes again."""
        rows = (step * self.size + np.arange(self.size)) % len(self.pool)
        return torch.from_numpy(self.pool.pixels[rows])

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Bits a pixel and the weighted squared error."""
        weight = self.weights[step % len(self.weights)]
        return self.parts(batch, weight)

    def parts(self, batch: Any, weight: float) -> dict[str, Tensor]:
        """The loss at one lambda."""
        x = pictures(batch)
        found, bits = self.model(x, torch.full((len(x),), step_of(weight), device=x.device))
        pixels = x.shape[2] * x.shape[3]
        error = (found - x).square().mean() * 255**2
        return {"bits": bits.mean() / pixels, "error": weight * error}


class AnyRateTask(PixelTask):
    """A lambda drawn between the ends of `weights` for every step."""

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Bits a pixel and the weighted squared error."""
        rng = np.random.default_rng((self.seed, step))
        return self.parts(batch, float(np.exp(rng.uniform(np.log(self.weights[0]), np.log(self.weights[-1])))))


class VariableTask(PixelTask):
    """Every step size an objective of its own: for a step, one lambda of each of `OBJECTIVES` ranges."""

    def losses(self, batch: Any, step: int, progress: float) -> Iterator[dict[str, Tensor]]:
        """Yield bits and error at each lambda."""
        for index in range(OBJECTIVES):
            share = len(self.weights) // OBJECTIVES
            yield self.parts(batch, self.weights[index * share + (step + index) % share])


def patches(pool: Crops, count: int = 2000, seed: int = 0) -> Tensor:
    """Patches [M,768] of the crops, as `PixelUnshuffle` lays them out."""
    rows = np.sort(np.random.default_rng(seed).choice(len(pool), min(count, len(pool)), replace=False))
    x = pictures(torch.from_numpy(pool.pixels[rows]))
    patched = torch.nn.functional.pixel_unshuffle(x, STRIDE)
    return patched.permute(0, 2, 3, 1).reshape(-1, PATCH)
