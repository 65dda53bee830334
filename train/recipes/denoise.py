"""The noise upon the clean picture: the codec `denoise`'s upper layer, above its lower one as it is."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.denoise import NoiseTask, denoise_layers
from train.loop import Plan, Run, fit
from train.warm import checkpoint

SEED = 9
STEPS = 2_400
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 50, "clip": 1.0, "ema": 0.995, "cool": 0.7}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipe `clean_sharp`'s weights beside it."""
    first = checkpoint(out.parent, "clean_sharp")
    torch.manual_seed(SEED)
    pool = crops(data_root(), out.parent / "cache")
    task = NoiseTask(pool, denoise_layers(pool, first), 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
