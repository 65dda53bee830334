"""`deep_clean` deeper still and coded in passes, trained on: what came back of a latent tells of the rest."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.denoise import CleanTask
from train.loop import Plan, Run, fit
from train.nets.passes import grouped, shared
from train.nets.picture import Depth
from train.nets.scalable import PictureLayer
from train.warm import averaged, checkpoint, take

SEED = 12
STEPS = 8_300
DEPTHS = Depth(10), Depth(9)
PASSES = grouped(6, 16, 32, 64, 192)
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.7}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `deep_clean`'s weights beside it; what it had not starts silent."""
    torch.manual_seed(SEED)
    model = PictureLayer(depths=DEPTHS, passes=PASSES)
    take(model, shared(averaged(checkpoint(out.parent, "deep_clean")), "latent.", PASSES))
    task = CleanTask(crops(data_root(), out.parent / "cache"), model, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
