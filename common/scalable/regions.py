"""Regions of a picture that are wanted at their best, where the rest is shown by the base picture.

+-----------------------------+
| base      +--------------+  |    A region is full inside and goes over into the base within SEAM pixels of its
|           |  full        |  |    border, but not where that is the picture's own. What it needs of a layer are
|           +--------------+  |    the tiles that it touches when it is MARGIN pixels larger all around.
+-----------------------------+
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MARGIN = 16
"""Pixels around a region whose tiles are wanted, too."""
SEAM = 8
"""Pixels, inside a region, in which one picture goes over into the other."""

Where = tuple[slice, slice]
"""Rows and columns of a picture."""


class Region(NamedTuple):
    """A rectangle in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int

    def grown(self, pixels: int, width: int, height: int) -> "Region":
        """Larger on all sides, but not beyond a picture of this size."""
        left, top = max(0, self.x - pixels), max(0, self.y - pixels)
        right, bottom = min(width, self.x + self.width + pixels), min(height, self.y + self.height + pixels)
        return Region(left, top, right - left, bottom - top)


Regions = Sequence[Region]


def check_regions(regions: Regions | None, width: int, height: int) -> None:
    """ValueError unless each is inside a picture of this size, and not empty."""
    for region in regions or ():
        x, y, across, down = region
        if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
            raise ValueError(f"region: expected a part of {width}x{height} pixels, got {tuple(region)}")


def touched(regions: Regions, size: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """[rows, columns]: which squares of `size` pixels they have a part in."""
    found = np.zeros((rows, columns), np.bool_)
    for x, y, width, height in regions:
        found[y // size : -(-(y + height) // size), x // size : -(-(x + width) // size)] = True
    return found


def weights(regions: Regions, where: Where, width: int, height: int) -> NDArray[np.float32]:
    """Of each pixel of a part of the picture how much of it is full, 0..1."""
    down, across = where
    found = np.zeros((down.stop - down.start, across.stop - across.start), np.float32)
    for region in regions:
        rows = _ramp(region.y, region.height, down, height)
        columns = _ramp(region.x, region.width, across, width)
        if rows.any() and columns.any():
            np.maximum(found, rows[:, None] * columns, out=found)
    return found


def _ramp(start: int, length: int, part: slice, size: int) -> NDArray[np.float32]:
    """Along one axis, of the pixels of `part`: 0 outside the region, 1 from SEAM pixels on inside."""
    at = np.arange(part.start, part.stop, dtype=np.float32)
    before = at - start + 1 if start else np.where(at < 0, 0, np.float32(SEAM + 1))
    after = start + length - at if start + length < size else np.full_like(at, SEAM + 1)
    ramp: NDArray[np.float32] = (np.minimum(before, after) / np.float32(SEAM + 1)).clip(0, 1).astype(np.float32)
    return ramp
