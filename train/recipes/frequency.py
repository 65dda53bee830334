"""Quality scalable by frequency (Choi et al., VCIP 2022): a base picture of low frequencies, high ones in tiles."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.frequency import FrequencyTask, frequency_layers
from train.loop import Plan, Run, fit
from train.pixels import LAMBDAS

SEED = 8
STEPS = 16_000
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.5}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on."""
    torch.manual_seed(SEED)
    pool = crops(data_root(), out.parent / "cache")
    task = FrequencyTask(pool, frequency_layers(pool), LAMBDAS, 4, SEED)
    return fit(task, Plan(steps, threads=threads, **PLAN), out, resume)
