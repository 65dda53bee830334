"""Task and picture apart (Ozyilkan et al., DCC 2023): a base latent made of the detector's features for it alone."""

from pathlib import Path

from train.layers import train_layers
from train.loop import Run

STEPS = 1_000


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipes `features` and `every_rate` beside it; p(y2 | y1) knows the base."""
    return train_layers(out, steps, resume, threads, shared=False, conditional=True)
