"""The head that reads masks of people and vehicles from uncoded features: what the middle layer is trained for."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.base_layer import stand
from train.loop import Plan, Run, fit
from train.masks import MaskTask, mask_head, masks

SEED = 4
STEPS = 1_500
PLAN = {"rate": 1e-3, "decay": 0.02, "warmup": 50, "clip": 5.0, "ema": 0.995, "cool": 0.6}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on."""
    torch.manual_seed(SEED)
    at = stand(out.parent / "cache")
    known = masks(data_root(), at.bundle.manifest.input)
    return fit(
        MaskTask(at.pool, known, mask_head(at.pool), 12, SEED), Plan(steps, threads=threads, **PLAN), out, resume
    )
