"""Starting from the weights of another run: all that fits is taken over, what is new starts as it is made."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.settings import MissingDataError


def checkpoint(runs: Path, recipe: str, part: str = "") -> Path:
    """What a recipe left in its folder in `runs`. Raises MidstreamError saying what to train if there is nothing."""
    path = runs / recipe / part / "checkpoint.pt"
    if not path.is_file():
        raise MissingDataError(f"there is no {path}: `midstream train {recipe} --out {runs / recipe}` makes it")
    return path


def warm(model: nn.Module, checkpoint: Path, prefix: str = "") -> list[str]:
    """Load a run's averaged weights into `model`, those below `prefix` only; return the names of what is new.

    Weights are taken as `take` does.
    """
    there = averaged(checkpoint)
    found = {name[len(prefix) :]: value for name, value in there.items() if name.startswith(prefix)}
    new = take(model, found)
    if len(new) == len(model.state_dict()):
        raise ValueError(f"{checkpoint} has no weights named {prefix}...: it is of another recipe")
    return new


def averaged(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a run."""
    weights: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"]
    return weights


def take(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load those weights into `model` that it has; return the names of what is new.

    A convolution that has more inputs here than there gets zeros for them, so that it starts by ignoring them.
    """
    own = model.state_dict()
    taken = {name: _widened(weights[name], own[name]) for name in own if name in weights}
    model.load_state_dict({**own, **taken})
    return sorted(own.keys() - taken.keys())


def _widened(there: Tensor, here: Tensor) -> Tensor:
    if there.shape == here.shape:
        return there
    if there.dim() == 4 and there.shape[0] == here.shape[0] and there.shape[1] < here.shape[1]:
        wide = torch.zeros_like(here)
        wide[:, : there.shape[1]] = there
        return wide
    raise ValueError(f"expected weights {list(here.shape)}, got {list(there.shape)}")
