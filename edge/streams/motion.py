"""Whether anything moved: a small grey picture against that of the last frame that was sent."""

import numpy as np
from numpy.typing import NDArray

COLUMNS, ROWS = 160, 90
"""Of the small picture: in 720p a cell is 8×8 pixels, whose mean is still where their noise is not."""
LEVELS = 12
"""Of 256, by which a cell must differ to count as changed."""

Grey = NDArray[np.uint8]


class Motion:
    """`changed` compares with the frame of the last `sent`, so that what moves slowly adds up."""

    def __init__(self, threshold: float, at_least_every_s: float) -> None:
        self._threshold = threshold
        self._every = at_least_every_s
        self._reference: Grey | None = None
        self._at = 0.0

    def moved(self, grey: Grey, at: float) -> bool:
        """Whether the frame whose small picture this is [ROWS, COLUMNS], at `at` seconds, is to be sent.

        If so, it is what the next ones are compared with.
        """
        quiet = self._reference is not None and 0 <= at - self._at < self._every
        if quiet and self._reference is not None and changed(self._reference, grey) < self._threshold:
            return False
        self._reference, self._at = grey, at
        return True


def changed(before: Grey, now: Grey) -> float:
    """Which part of the picture changed, 0 to 1. What all cells have in common is the exposure, and no motion."""
    difference = now.astype(np.int16) - before
    difference -= np.int16(np.median(difference))
    return float((np.abs(difference) > LEVELS).mean())
