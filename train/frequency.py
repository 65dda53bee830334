"""Training of low and high frequencies together: the whole picture at its rate, and what the low ones show of it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.crops import Crops
from train.nets.frequency import Frequency, start
from train.pixels import KLT_STEP, AnyRateTask, step_of

BASE = 0.1
"""How much the base picture's error counts beside the whole one's."""


def frequency_layers(pool: Crops, count: int = 600, seed: int = 0) -> Frequency:
    """The family as it stands before training: at the transform of its bands."""
    model = Frequency()
    rows = np.sort(np.random.default_rng(seed).choice(len(pool), count, replace=False))
    start(model, torch.from_numpy(pool.pixels[rows]).permute(0, 3, 1, 2).float() / 255, 255 / KLT_STEP)
    return model


class FrequencyTask(AnyRateTask):
    """One lambda for every step; the base picture is made of every second crop."""

    def parts(self, batch: Any, weight: float) -> dict[str, Tensor]:
        """Bits a pixel of both layers, and the weighted squared errors of both pictures."""
        x = batch.permute(0, 3, 1, 2).float().div(255).to(memory_format=torch.channels_last)
        shown = self.model(x, torch.full((len(x),), step_of(weight), device=x.device), len(x) // 2)
        pixels = x.shape[2] * x.shape[3]
        full, base = ((found - x[: len(found)]).square().mean() * 255**2 * weight for found in (shown.full, shown.base))
        return {
            "low_bits": shown.low_bits.mean() / pixels,
            "high_bits": shown.high_bits.mean() / pixels,
            "full": full,
            "base": BASE * base,
        }
