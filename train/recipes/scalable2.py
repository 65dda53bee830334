"""Two layers in one latent space (Choi and Bajic, TIP 2022): base -> detections, base and enhancement -> picture."""

from pathlib import Path

from train.layers import train_layers
from train.loop import Run

STEPS = 1_000


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipes `features` and `every_rate` beside it: the picture teaches the base, too."""
    return train_layers(out, steps, resume, threads, shared=True)
