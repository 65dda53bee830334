"""The picture layer alone, at its finest rate: what the scalable codecs and the variable rate start from."""

from pathlib import Path

import torch

from bench.settings import data_root
from train.crops import crops
from train.loop import Plan, Run, fit
from train.pixels import FINEST, PixelTask, patches, picture_layer

SEED = 1
STEPS = 10_000
PLAN = {"rate": 4e-4, "decay": 1e-4, "warmup": 200, "clip": 1.0, "ema": 0.999, "cool": 0.5}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on."""
    torch.manual_seed(SEED)
    pool = crops(data_root(), out.parent / "cache")
    model = picture_layer(patches(pool))
    model.latent.offset_on = model.latent.hyper_step_on = False
    return fit(PixelTask(pool, model, [FINEST], 4, SEED), Plan(steps, threads=threads, **PLAN), out, resume)
