"""What a codec needs to know of a cut, found from pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console

from bench.networks import Split
from common.codec.clip import choose
from common.codec.lightweight_rans import LightweightRans, calibrate
from common.errors import BundleError
from train.bundles.activation import activation
from train.bundles.images import Sample
from train.bundles.progress import track

LEVELS = (2, 3, 4, 5, 6, 8, 12, 16)
DEFAULT_LEVELS = 4
VALUES = 2_000_000
"""Of the features, how many a clip is fitted to."""

Fitted = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""The manifest's [codec] table and the arrays of codec.npz."""
Fit = Callable[[Split, Sequence[Sample], Console], Fitted]


def lightweight(split: Split, samples: Sequence[Sample], console: Console) -> Fitted:
    """The papers' codec: clips from their model where it holds, else those of least error on the features."""
    values = _values(split, samples, console)
    front = onnx.load(split.bundle.file("front.onnx"))
    slopes = {activation(front, name).slope for name in split.bundle.manifest.cut.names}
    slope = slopes.pop() if len(slopes) == 1 else None
    clips = {}
    for levels in LEVELS:
        try:
            low, high = choose("empirical-joint" if slope is None else "model", values, levels, slope or 0.0)
        except ValueError as e:
            raise BundleError(f"the features at the cut cannot be clipped to {levels} levels: {e}") from e
        clips[str(levels)] = [float(low), float(high)]
    shapes = [list(shape) for shape in split.bundle.manifest.cut.shapes]
    return {"name": "lightweight", "shapes": shapes, "clips": clips, "default_levels": DEFAULT_LEVELS}, {}


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
        return it(split, samples, console, labelled=labelled)
    except (ValueError, np.linalg.LinAlgError) as e:
        raise BundleError(
            f"the transform codec cannot be fitted to the features at this cut: {e}; cut elsewhere"
        ) from e


FITS: dict[str, Fit] = {
    "transform": transform,
    "transform-labelled": transform_labelled,
    "lightweight": lightweight,
    "lightweight-rans": lightweight_rans,
}
