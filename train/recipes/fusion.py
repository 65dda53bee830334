"""The fusion of scalable video (after Choi and Bajić, MMSP 2022): 10 kMAC a pixel, exact integers when it is done."""

from pathlib import Path

import numpy as np
import torch

from bench.settings import data_root
from train.fusion import FusionTask, arrays, videos
from train.loop import Plan, Run, fit
from train.nets.fusion import FusionNet

SEED = 9
STEPS = 1_500
PLAN = {"rate": 1e-3, "decay": 1e-3, "warmup": 50, "clip": 1.0, "ema": 0.995, "cool": 0.6}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on. What ships as common/video/fusion.npz is `out`/fusion.npz."""
    torch.manual_seed(SEED)
    known = videos(data_root() / "video" / "train")
    run = fit(FusionTask(known, FusionNet(), SEED), Plan(steps, threads=threads, **PLAN), out, resume)
    np.savez_compressed(out / "fusion.npz", **arrays(run.ema.cpu(), known))
    return run
