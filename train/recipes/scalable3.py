"""Three layers (Choi and Bajic, TIP 2022): base -> detections, + middle -> masks, + enhancement -> picture."""

from pathlib import Path

from train.loop import Run
from train.middle import train_middle

STEPS = 900


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out` from the recipes `finish` and `masks` beside it; the base layer stays as it is."""
    return train_middle(out, steps, resume, threads)
