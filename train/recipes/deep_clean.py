"""`clean` with more blocks on both sides, trained on: noise is told from texture by looking further and longer."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.denoise import CleanTask
from train.loop import Plan, Run, fit
from train.nets.picture import Depth
from train.nets.scalable import PictureLayer
from train.warm import checkpoint, warm

SEED = 10
STEPS = 12_500
DEPTHS = Depth(7), Depth(8)
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.8}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `clean`'s weights beside it; the blocks that it had not start silent."""
    torch.manual_seed(SEED)
    model = PictureLayer(depths=DEPTHS)
    warm(model, checkpoint(out.parent, "clean"))
    task = CleanTask(crops(data_root(), out.parent / "cache"), model, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
