"""What each part of the variable rate is worth: only the offsets are trained, then the hyper-latent's step, too."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.loop import Plan, Run, fit
from train.nets.scalable import PictureLayer
from train.pixels import LAMBDAS, AnyRateTask
from train.warm import checkpoint, warm

SEED = 2
STEPS = 300
PLAN = {"rate": 3e-3, "decay": 0.0, "warmup": 20, "clip": 1.0, "ema": 0.99, "cool": 0.6}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`/offsets and `out`/step from the recipe `picture`'s weights beside it; return the last run."""
    for name, parts in {"offsets": ("offsets",), "step": ("offsets", "hyper_step", "prior")}.items():
        torch.manual_seed(SEED)
        model = PictureLayer()
        warm(model, checkpoint(out.parent, "picture"))
        model.latent.hyper_step_on = name == "step"
        model.requires_grad_(False)
        for part in parts:
            getattr(model.latent, part).requires_grad_(True)
        task = AnyRateTask(crops(data_root(), out.parent / "cache"), model, LAMBDAS, 4, SEED)
        plan = PLAN if name == "offsets" else {**PLAN, "rate": 3e-4}
        run = fit(task, Plan(steps, threads=threads, **plan), out / name, resume)
    return run
