"""The base layer alone: what the detector needs and nothing else, for every quality."""

from pathlib import Path

import torch

from train.base_layer import BaseTask, base_layer, stand
from train.cuts import sizes
from train.loop import Plan, Run, fit

SEED = 1
STEPS = 5_000
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 30.0, "ema": 0.998, "cool": 0.5}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`, from where the transform codec of the shipped bundle stands; with `resume`, go on."""
    torch.manual_seed(SEED)
    at = stand(out.parent / "cache")
    task = BaseTask(at.pool, base_layer(at.codec, sizes(at.pool)), at.distance, 8, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
