"""`disentangled` without p(y2 | y1), for comparison: what it is worth that the probabilities know the base."""

from pathlib import Path

from train.layers import train_layers
from train.loop import Run

STEPS = 1_000


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipes `features` and `every_rate` beside it, on the batches of `disentangled`."""
    return train_layers(out, steps, resume, threads, shared=False)
