"""`clean_passes` with more blocks at an eighth of the picture's size and more passes on a checkerboard, trained on.

It learns from values that are rounded as encoders do it, to what costs least.
"""

from pathlib import Path

import torch

from bench.settings import data_root
from common.codec.rounding import BIT
from train.crops import crops
from train.denoise import CleanTask
from train.loop import Plan, Run, fit
from train.nets.denoise import PASSES
from train.nets.passes import shared
from train.nets.picture import Depth
from train.nets.scalable import PictureLayer
from train.warm import averaged, checkpoint, take

SEED = 13
STEPS = 13_400
DEPTHS = Depth(10, 4), Depth(9, 4)
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.8}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `clean_passes`'s weights beside it; what it had not starts silent."""
    torch.manual_seed(SEED)
    model = PictureLayer(depths=DEPTHS, passes=PASSES)
    model.latent.bit = BIT
    take(model, shared(averaged(checkpoint(out.parent, "clean_passes")), "latent.", PASSES))
    task = CleanTask(crops(data_root(), out.parent / "cache"), model, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
