"""`clean_checkered` with nets that are told of the step, and deeper, trained on with the sharpest photos."""

from pathlib import Path

import torch

from bench.settings import data_root
from common.codec.rounding import BIT
from train.crops import SHARP, crops
from train.denoise import CleanTask
from train.loop import Plan, Run, fit
from train.nets.denoise import DEPTHS, PASSES
from train.nets.scalable import PictureLayer
from train.warm import checkpoint, warm

SEED = 14
STEPS = 4_500
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.8}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `clean_checkered`'s weights beside it; what it had not starts silent."""
    torch.manual_seed(SEED)
    model = PictureLayer(depths=DEPTHS, passes=PASSES, told=True)
    model.latent.bit = BIT
    warm(model, checkpoint(out.parent, "clean_checkered"))
    task = CleanTask(crops(data_root(), out.parent / "cache", SHARP), model, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
