"""The ICIP 2021 experiment: the losses' weights decide who gets the bits, the detector or the eye. Short runs."""

from pathlib import Path

from train.layers import Weights, train_layers
from train.loop import Run

STEPS = 300
SETTINGS = {"picture": Weights(picture=2.0, features=0.3), "even": Weights(), "features": Weights(0.5, 3.0)}


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> Run:
    """Train each setting into `out`/NAME from the recipes `features` and `every_rate` beside it; return the last."""
    for name, weights in SETTINGS.items():
        run = train_layers(out / name, steps, resume, threads, weights=weights, beside=out.parent, shared=True)
    return run
