"""What is trained last, with everything else as it is: a family's preview, and the offsets of its reconstructions."""

from pathlib import Path

import torch

from bench.settings import MissingDataError, data_root
from train import base_layer
from train.bundles.scalable import loaded
from train.crops import crops
from train.layers import LayersTask
from train.loop import Plan, Run, fit

SEED = 6
STEPS = 400
FAMILIES = ("scalable2", "disentangled")
PLAN = {"rate": 2e-3, "decay": 0.0, "warmup": 20, "clip": 30.0, "ema": 0.99, "cool": 0.7}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train each family there is beside `out` into `out`/NAME: the checkpoints that bundles are built from.

    Raises MidstreamError if there is none.
    """
    there = [name for name in FAMILIES if (out.parent / name / "checkpoint.pt").is_file()]
    if not there:
        first = " or ".join(f"`midstream train {name} --out {out.parent / name}`" for name in FAMILIES)
        raise MissingDataError(f"there is no family in {out.parent} to finish: {first} comes first")
    at = base_layer.stand(out.parent / "cache")
    pool = crops(data_root(), out.parent / "cache")
    for name in there:
        torch.manual_seed(SEED)
        model = loaded(out.parent / name / "checkpoint.pt")
        for part in (model.preview, model.base.latent.offsets, model.picture.latent.offsets):
            part.requires_grad_(True)
        task = LayersTask(pool, at.pool, at.bundle.manifest.input, model, at.distance, 4, SEED)
        run = fit(task, Plan(steps, threads=threads, **PLAN), out / name, resume)
    return run
