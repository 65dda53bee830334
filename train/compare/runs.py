"""The weights that recipes left: a run's folder is named like its recipe, `midstream train`'s default."""

from pathlib import Path
from typing import TypeVar

from torch import nn

from common.errors import MidstreamError
from train.nets.scalable import Family, PictureLayer, Scalable
from train.warm import checkpoint, warm

CUT = (16, 40, 40)
"""Of the embedded detector."""

Net = TypeVar("Net", bound=nn.Module)


def picture_layer(runs: Path, recipe: str, part: str = "", *, offsets: bool = True, hyper: bool = True) -> PictureLayer:
    """A picture layer; without `offsets` or the `hyper`-latent's step, its variable rate does without them."""
    layer = filled(PictureLayer(), runs, recipe, part)
    layer.latent.offset_on, layer.latent.hyper_step_on = offsets, hyper
    return layer


def family(runs: Path, recipe: str, part: str = "", **what: bool) -> Scalable:
    """A family; `what` as in `Family`."""
    return filled(Scalable(Family(CUT, **what)), runs, recipe, part)


def filled(net: Net, runs: Path, recipe: str, part: str = "") -> Net:
    """The network with the averaged weights of `runs`/recipe/part. Raises MidstreamError saying what to train."""
    path = checkpoint(runs, recipe, part)
    try:
        missing = warm(net, path)
    except ValueError as e:
        raise MidstreamError(f"{path} does not fit the recipe {recipe!r}: {e}") from e
    if missing:
        raise MidstreamError(f"{path} is of another recipe than {recipe!r}: it has no {missing[0]}")
    return net.eval().requires_grad_(False)
