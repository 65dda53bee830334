"""Blocks of a tensor in many pictures: their spectra, and their coefficients in a basis."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.codec import blocks
from common.codec.basis import Basis, project
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
        lowest = [self.of(i, values)[0].mean(1) for i, values in enumerate(features)]
        mean: Features = (np.mean(lowest, 0) / self._grids[0].block).astype(np.float32)
        return mean

    def of(self, picture: int, values: Features, mean: Features | None = None) -> Features:
        """The spectrum [frequency, C, block] of one picture's tensor less its mean, or of a gradient there."""
        level = np.zeros(len(values), np.float32) if mean is None else mean
        return blocks.spectrum(values, level, self._grids[picture])


def view(basis: Basis, spectra: Sequence[Features], quality: int, margin: int) -> View:
    """All coefficients of all pictures at a quality, of the planes that are coded there."""
    count, step = basis.count(quality, margin), np.float32(step_of(quality))
    values = [project(spectrum, basis, count) / step for spectrum in spectra]
    return View(quality, basis.scales[:count].astype(np.int16), np.concatenate(values, axis=1))
