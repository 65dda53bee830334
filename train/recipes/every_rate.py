"""One picture layer for every rate, trained on all of them for long: what the families with pictures start from."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.loop import Plan, Run, fit
from train.nets.scalable import PictureLayer
from train.pixels import LAMBDAS, AnyRateTask
from train.warm import checkpoint, warm

SEED = 5
STEPS = 12_000
PLAN = {"rate": 3e-3, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.8}
KNOWING = ("analysis.", "synthesis.", "latent.analysis.", "latent.decoder.", "latent.prior.")


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `picture`'s weights beside it."""
    torch.manual_seed(SEED)
    model = PictureLayer()
    warm(model, checkpoint(out.parent, "picture"))
    task = AnyRateTask(crops(data_root(), out.parent / "cache"), model, LAMBDAS, 4, SEED)
    return fit(task, Plan(steps, threads=threads, gentle=KNOWING, **PLAN), out, resume)
