"""One picture layer for each of four rates: what a single one for all of them is measured against."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.loop import Plan, Run, fit
from train.nets.scalable import PictureLayer
from train.pixels import LAMBDAS, PixelTask
from train.recipes.variable import PLAN
from train.warm import checkpoint, warm

SEED = 2
STEPS = 600
CHOSEN = LAMBDAS[0], LAMBDAS[2], LAMBDAS[4], LAMBDAS[7]


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`/LAMBDA, each as long as the recipe `variable`, from the same weights; return the last run."""
    for weight in CHOSEN:
        torch.manual_seed(SEED)
        model = PictureLayer()
        warm(model, checkpoint(out.parent, "picture"))
        model.latent.offset_on = model.latent.hyper_step_on = False
        task = PixelTask(crops(data_root(), out.parent / "cache"), model, [weight], 4, SEED)
        run = fit(task, Plan(steps, threads=threads, **PLAN), out / f"{weight:g}", resume)
    return run
