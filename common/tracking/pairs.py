"""Which detection belongs to which track: how alike two boxes are, and the best way to pair them."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def overlap(tracks: Floats, boxes: Floats, slack: Floats) -> Floats:
    """[T, D] intersection over union of boxes [T, 4] and [D, 4], all sides of both moved out by a track's slack [T].

    So a track that was not seen for long is found again beside where it was expected, one just seen only there.
    """
    a, b, grown = tracks[:, None], boxes[None], 2 * slack[:, None]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + grown
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + grown
    common = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(a, grown) + _area(b, grown) - common
    result: Floats = common / np.maximum(union, 1e-9)
    return result


def _area(boxes: Floats, grown: Floats) -> Floats:
    area: Floats = (boxes[..., 2] - boxes[..., 0] + grown) * (boxes[..., 3] - boxes[..., 1] + grown)
    return area


def paired(likeness: Floats, least: float) -> tuple[Ints, Ints]:
    """Rows and columns of the pairs that are most alike in sum, each at least so much."""
    usable = np.where(likeness >= least, likeness, 0)
    rows, columns = linear_sum_assignment(usable, maximize=True)
    alike = usable[rows, columns] > 0
    return rows[alike], columns[alike]
