"""The picture layer without a base below it, trained as long as the scalable ones: what scalability costs."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.loop import Plan, Run, fit
from train.nets.scalable import PictureLayer
from train.pixels import LAMBDAS, AnyRateTask
from train.recipes.variable import PLAN
from train.warm import checkpoint, warm

SEED = 3
STEPS = 1_000


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `every_rate`'s weights beside it."""
    torch.manual_seed(SEED)
    model = PictureLayer()
    warm(model, checkpoint(out.parent, "every_rate"))
    task = AnyRateTask(crops(data_root(), out.parent / "cache"), model, LAMBDAS, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
