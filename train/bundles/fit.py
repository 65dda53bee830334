"""What a codec needs to know of a cut, found from pictures."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench.clips import behind, clips
from bench.networks import Split
from common.codec import CODECS, Codec
from common.codec.clip import CHOICES, Clip, choose
from common.codec.clip.sample import Sample as Features
from common.codec.ecq import design
from common.codec.lightweight_rans import LightweightRans, calibrate
from common.errors import BundleError
from train.bundles.images import Sample
from train.bundles.progress import track

LEVELS = (2, 3, 4, 5, 6, 8, 12, 16)
DEFAULT_LEVELS = 4
BIT = 0.02
"""Of the features' variance: the squared error that a bit is worth when entropy-constrained quantisers are designed."""
VALUES = 2_000_000
"""Of the features, how many a clip is fitted to."""

Fitted = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""The manifest's [codec] table and the arrays of codec.npz."""
Fit = Callable[[Split, Sequence[Sample], Console], Fitted]


def fitted(
    fit: Fit, split: Split, samples: Sequence[Sample], console: Console
) -> tuple[Codec, dict[str, Any], dict[str, NDArray[Any]]]:
    """The codec with what it is made of. Raises BundleError if what was found makes none."""
    params, arrays = fit(split, samples, console)
    try:
        return CODECS[params["name"]].from_params(params, arrays), params, arrays
    except ValueError as e:
        raise BundleError(
            f"the codec {params['name']} cannot be fitted to the features at this cut: {e}; cut elsewhere"
        ) from e


def lightweight(split: Split, samples: Sequence[Sample], console: Console, choice: str | None = None) -> Fitted:
    """The papers' codec: clips from their model where it holds, else those of least error; or by a named `choice`."""
    values = _values(split, samples, console)
    try:
        found = _chosen(split, values, choice) if choice else clips(split.bundle, values, LEVELS)[0]
    except ValueError as e:
        raise BundleError(f"the features at the cut cannot be clipped: {e}; cut elsewhere") from e
    return _params(
        split, {"clips": {str(levels): [float(low), float(high)] for levels, (low, high) in found.items()}}
    ), {}


def lightweight_ecq(split: Split, samples: Sequence[Sample], console: Console) -> Fitted:
    """The same with the papers' entropy-constrained quantisers, their ends pinned to the clip."""
    values = _values(split, samples, console)
    sample, price = Features(values), BIT * float(values.var(dtype=np.float64))
    try:
        found = clips(split.bundle, values, LEVELS)[0]
        tables = {str(n): design(sample, *clip, n, price).params() for n, clip in found.items()}
    except ValueError as e:
        raise BundleError(f"no quantiser can be designed for the features at the cut: {e}; cut elsewhere") from e
    return _params(split, {"tables": tables}), {}


def _chosen(split: Split, values: NDArray[np.float32], choice: str) -> dict[int, Clip]:
    slope = behind(split.bundle).slope
    return {n: choose(choice, values, n, slope or 0.0) for n in LEVELS}


def _params(split: Split, quantisers: dict[str, Any]) -> dict[str, Any]:
    shapes = [list(shape) for shape in split.bundle.manifest.cut.shapes]
    return {"name": "lightweight", "shapes": shapes, **quantisers, "default_levels": DEFAULT_LEVELS}


def _values(split: Split, samples: Sequence[Sample], console: Console) -> NDArray[np.float32]:
    """Some of the features of all pictures, evenly drawn."""
    random = np.random.default_rng(0)
    share = max(1, VALUES // len(samples))
    drawn = []
    for sample in track(samples, "features", console):
        values = np.concatenate([tensor.ravel() for tensor in split.front.run(sample.image)])
        drawn.append(values if values.size <= share else random.choice(values, share, replace=False))
    return np.concatenate(drawn)


def lightweight_rans(split: Split, samples: Sequence[Sample], console: Console) -> Fitted:
    """The papers' quantisers with contexts and tables counted on the pictures."""
    params, _ = lightweight(split, samples, console)
    if any(len(shape) != 3 for shape in params["shapes"]):
        raise BundleError(f"lightweight-rans codes tensors [C, H, W] only, not {params['shapes']}: cut elsewhere")
    frames = (split.front.run(sample.image) for sample in track(samples, "tables", console))
    params = {**params, "name": LightweightRans.name}
    return params, calibrate(params, frames)


def transform_labelled(split: Split, samples: Sequence[Sample], console: Console) -> Fitted:
    """The same codec in the metric of the loss on marked boxes, to compare."""
    if all(sample.marks is None for sample in samples):
        raise BundleError("transform-labelled needs pictures with marked boxes: give a listing in COCO's JSON format")
    return transform(split, samples, console, labelled=True)


def transform(split: Split, samples: Sequence[Sample], console: Console, *, labelled: bool = False) -> Fitted:
    """The calibrated transform codec. It needs gradients, hence torch."""
    from train.calibration.fit import transform as it

    if any(len(shape) != 3 for shape in split.bundle.manifest.cut.shapes):
        raise BundleError(
            "the transform codec codes tensors [C, H, W] only: cut elsewhere, or take --codec lightweight"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what that leads to is found and refused
            return it(split, samples, console, labelled=labelled)
    except (ValueError, np.linalg.LinAlgError) as e:
        raise BundleError(
            f"the transform codec cannot be fitted to the features at this cut: {e}; cut elsewhere"
        ) from e


FITS: dict[str, Fit] = {
    "transform": transform,
    "transform-labelled": transform_labelled,
    "lightweight": lightweight,
    "lightweight-ecq": lightweight_ecq,
    "lightweight-rans": lightweight_rans,
    **{f"lightweight/{choice}": partial(lightweight, choice=choice) for choice in CHOICES},
}
