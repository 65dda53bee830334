"""Passes for the latents of the bundle `frequency`, whose networks stay as they are: fewer bytes for the same."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.frequency import PassesTask, shipped_in_passes
from train.loop import Plan, Run, fit
from train.pixels import LAMBDAS

SEED = 13
STEPS = 1_000
KNOWING = ("low.analysis", "low.decoder", "high.analysis", "high.decoder", "below")
PLAN = {"rate": 2e-3, "decay": 1e-4, "warmup": 100, "clip": 1.0, "ema": 0.99, "cool": 0.6}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on."""
    torch.manual_seed(SEED)
    pool = crops(data_root(), out.parent / "cache")
    task = PassesTask(pool, shipped_in_passes(pool), LAMBDAS, 4, SEED)
    return fit(task, Plan(steps, threads=threads, gentle=KNOWING, **PLAN), out, resume)
