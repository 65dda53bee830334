"""What the base layer shows by itself: the preview of each family, trained last, with everything else as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train import base_layer
from train.bundles.scalable import loaded
from train.layers import QUALITIES
from train.loop import Plan, Run, fit
from train.nets.scalable import Scalable

SEED = 6
STEPS = 1_500
FAMILIES = ("scalable2", "disentangled", "scalable3")
PLAN = {"rate": 2e-3, "decay": 1e-4, "warmup": 50, "clip": 1.0, "ema": 0.995, "cool": 0.7}


class PreviewTask:
    """Context in, the network's view of the photo out."""

    def __init__(self, at: base_layer.Stand, model: Scalable, batch: int, seed: int) -> None:
        self.at, self.model, self.size, self.seed = at, model, batch, seed

    def batch(self, step: int, progress: float) -> Any:
        """Features, masks and views of random photos, mirrored or not, and qualities."""
        rng = np.random.default_rng((self.seed, step))
        rows = rng.integers(0, len(self.at.pool), self.size)
        quality = torch.from_numpy(rng.uniform(*QUALITIES, self.size).astype(np.float32))
        return *self.at.pool.seen(rows), self.at.pool.views_of(rows), quality

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """The squared error, in hundredths of the range."""
        features, mask, views, quality = batch
        with torch.no_grad():
            context = self.model.base(features, base_layer.step_of(quality), mask).context
        return {"error": 1e4 * (self.model.preview(context) - views).square().mean()}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train each family there is beside `out` into `out`/NAME: the checkpoints that bundles are built from."""
    at = base_layer.stand(out.parent / "cache")
    for name in FAMILIES:
        if (out.parent / name / "checkpoint.pt").exists():
            torch.manual_seed(SEED)
            model = loaded(out.parent / name / "checkpoint.pt")
            model.preview.requires_grad_(True)
            run = fit(PreviewTask(at, model, 8, SEED), Plan(steps, threads=threads, **PLAN), out / name, resume)
    return run
