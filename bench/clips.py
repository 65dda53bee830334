"""The papers' clips at any cut of any network: one rule for bundles that use them and for the bench of others."""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from bench.activation import Activation, activation
from common.bundle import Bundle
from common.codec.clip import choose, fit, optimal_clip
from common.codec.clip.model import Clip


def clips(bundle: Bundle, features: NDArray[np.float32], levels: Iterable[int]) -> tuple[dict[int, Clip], str]:
    """Clips by the number of levels, for features of this cut, and in words where they come from.

    Their model of the features if the cut comes out of the ReLU or leaky ReLU that it is made for, and has such a mean
    and variance; else the clips of least error on these very features. Raises ValueError if there are none.
    """
    known, wanted = behind(bundle), list(levels)
    if known.slope is not None:
        try:
            model = fit(float(features.mean(dtype=np.float64)), float(features.var(dtype=np.float64)), known.slope)
            return {n: optimal_clip(model, n) for n in wanted}, f"the papers' model of {known.name}"
        except ValueError:  # a cut after a pooling, say
            pass
    found = {n: choose("empirical-joint", features, n) for n in wanted}
    return found, f"least error on the features (activation: {known.name})"


def behind(bundle: Bundle) -> Activation:
    """The activation that all tensors of a bundle's cut come out of."""
    front = onnx.load(bundle.file("front.onnx"))
    found = {activation(front, name) for name in bundle.manifest.cut.names}
    return found.pop() if len(found) == 1 else Activation("mixed")
