"""Training of low and high frequencies together: the whole picture at its rate, and what the low ones show of it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.networks import shipped as bundle_of
from common import bundle as bundles
from train import shipped
from train.crops import Crops, pictures
from train.nets.frequency import PASSES, Frequency, folded, start
from train.nets.passes import shared
from train.pixels import KLT_STEP, AnyRateTask, step_of
from train.warm import take

BASE = 0.1
"""How much the base picture's error counts beside the whole one's."""


def frequency_layers(pool: Crops, count: int = 600, seed: int = 0) -> Frequency:
    """The family as it stands before training: at the transform of its bands."""
    model = Frequency()
    rows = np.sort(np.random.default_rng(seed).choice(len(pool), count, replace=False))
    start(model, pictures(torch.from_numpy(pool.pixels[rows])), 255 / KLT_STEP)
    return model


class FrequencyTask(AnyRateTask):
    """One lambda for every step; the base picture is made of every second crop."""

    def parts(self, batch: Any, weight: float) -> dict[str, Tensor]:
        """Bits a pixel of both layers, and the weighted squared errors of both pictures."""
        x = pictures(batch)
        shown = self.model(x, torch.full((len(x),), step_of(weight), device=x.device), len(x) // 2)
        area = x.shape[2] * x.shape[3]
        full, base = ((found - x[: len(found)]).square().mean() * 255**2 * weight for found in (shown.full, shown.base))
        return {
            "low_bits": shown.low_bits.mean() / area,
            "high_bits": shown.high_bits.mean() / area,
            "full": full,
            "base": BASE * base,
        }


class PassesTask(AnyRateTask):
    """The latents' bits alone: the networks between them and the picture stay as they are."""

    def parts(self, batch: Any, weight: float) -> dict[str, Tensor]:
        """Bits a pixel of both layers."""
        with torch.no_grad():
            y = self.model.analysis(pictures(batch))
        *_, low, high = self.model.code(*y, torch.full((len(batch),), step_of(weight), device=batch.device))
        area = batch.shape[1] * batch.shape[2]
        return {"low_bits": low.mean() / area, "high_bits": high.mean() / area}


@torch.no_grad()
def shipped_in_passes(pool: Crops, count: int = 16) -> Frequency:
    """The bundle `frequency` in passes; only what decides about bits is to be trained.

    Passes that it has not begin silent, or by saying what its heads said. The densities of z, which a bundle has not,
    are as wide as z is in the first crops.
    """
    weights = shipped.frequency(bundles.load(bundle_of("frequency"), "both"))
    for name, passes in zip(("low.", "high."), PASSES, strict=True):
        weights = shared(weights, name, passes)
    model = Frequency()
    take(model, weights)
    model.analysis.requires_grad_(False)
    model.synthesis.requires_grad_(False)
    low, high = model.analysis(pictures(torch.from_numpy(pool.pixels[:count])))
    for latent, y in ((model.low, low), (model.high, folded(high))):
        latent.offsets.requires_grad_(False)  # which serve the picture
        latent.prior.fit(latent.analysis(y / latent.spread[:, None, None]))
    return model
