"""Blocks of a tensor in many pictures: their spectra, and their coefficients in a basis."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import blocks
from common.codec.coefficients import step_of
from common.codec.window import Window
from train.calibration.tables import View

Features = NDArray[np.float32]


class Spectra:
    """The grids of the pictures on one tensor of the cut."""

    def __init__(self, shape: tuple[int, ...], block: int, windows: Sequence[Window]) -> None:
        self._grids = [blocks.content_blocks(window, *shape[1:], block) for window in windows]

    def mean(self, features: Sequence[Features]) -> Features:
        """[C] over the content of all pictures."""
        inside = [
            blocks.spectrum(f, np.zeros(len(f), np.float32), g)[0] for f, g in zip(features, self._grids, strict=True)
        ]
        block = self._grids[0].block
        mean: Features = (np.mean([lowest.mean(1) for lowest in inside], 0) / block).astype(np.float32)
        return mean

    def of(self, picture: int, values: Features, mean: Features | None = None) -> Features:
        """The spectrum [frequency, C, block] of one picture's tensor less its mean, or of a gradient there."""
        level = np.zeros(len(values), np.float32) if mean is None else mean
        return blocks.spectrum(values, level, self._grids[picture])

    def view(self, learned: Mapping[str, NDArray[Any]], spectra: Sequence[Features], quality: int, margin: int) -> View:
        """All coefficients at a quality, of the planes that are coded there."""
        turned = len(learned["turned"])
        scale = np.concatenate([learned["turned"], learned["scale"][turned:]])
        order = np.argsort(-scale.astype(int), kind="stable")
        order = order[scale[order] + quality - 256 >= -margin]
        step = np.float32(step_of(quality))
        values = [coefficients(learned, spectrum, order) / step for spectrum in spectra]
        return View(quality, scale[order], np.concatenate(values, axis=1))


def coefficients(learned: Mapping[str, NDArray[Any]], spectrum: Features, wanted: NDArray[np.intp]) -> Features:
    """[plane, block] of the wanted planes: those below the number of turned ones are turned, the others direct."""
    turned, frequency = len(learned["turned"]), learned["frequency"]
    needed = max(turned, int(wanted.max(initial=0)) + 1)
    first = np.empty((needed, spectrum.shape[2]), np.float32)
    forward = learned["forward"][:needed].astype(np.float32)
    for f in np.unique(frequency[:needed]):
        of = np.flatnonzero(frequency[:needed] == f)
        first[of] = forward[of] @ spectrum[f]
    out = first[wanted]
    is_turned = wanted < turned
    out[is_turned] = learned["turn"][wanted[is_turned]].astype(np.float32) @ first[:turned]
    return out
