"""The clean picture out of a noisy one, at any rate and blind to how noisy it is: the codec `denoise`'s lower layer."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.denoise import CleanTask
from train.loop import Plan, Run, fit
from train.nets.picture import Depth
from train.nets.scalable import PictureLayer
from train.recipes.every_rate import KNOWING
from train.warm import checkpoint, warm

SEED = 7
STEPS = 9_000
DEPTHS = Depth(4), Depth(5)
PLAN = {"rate": 3e-3, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.7}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `picture`'s weights beside it."""
    torch.manual_seed(SEED)
    model = PictureLayer(depths=DEPTHS)
    warm(model, checkpoint(out.parent, "picture"))
    task = CleanTask(crops(data_root(), out.parent / "cache"), model, 4, SEED)
    return fit(task, Plan(steps, threads=threads, gentle=KNOWING, **PLAN), out, resume)
