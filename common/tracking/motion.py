"""Where objects are believed to be: a Kalman filter for all tracks at once, for frames at any distance in time.

The centre moves at a velocity that wanders, width and height wander by themselves. Both axes of the centre are as
uncertain as each other, both sides too, and all of it in shares of the object's size: so four variances a track say
everything, and a track far away behaves as one near by.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Chosen = NDArray[np.int64] | NDArray[np.bool_]

MEASURED = 0.08
"""Standard deviation of a detection's centre and sides, in sizes."""
STRAY = 0.1
"""How far a centre strays beside its velocity, in sizes a root second."""
TURN = 1.0
"""How fast a velocity wanders, in sizes a second a root second."""
GROW = 0.1
"""How fast width and height wander, in sizes a root second."""
FIRST_SPEED = 1.0
"""Standard deviation of the velocity of what was seen once, in sizes a second."""
LEAST = 1.0
"""Pixels that a side has at least."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What is believed of T tracks, in one array: for a handful of tracks every step costs more than its numbers."""

    rows: Floats
    """[10, T] the rows of `place`, `speed` and `spread`."""

    @classmethod
    def of(cls, place: Floats, speed: Floats, spread: Floats) -> Self:
        """Of [T, 4], [T, 2] and [T, 4]."""
        return cls(np.concatenate([place.T, speed.T, spread.T]))

    @property
    def place(self) -> Floats:
        """[T, 4] x and y of the centre, width, height: pixels."""
        return self.rows[:4].T

    @property
    def speed(self) -> Floats:
        """[T, 2] of the centre, pixels a second."""
        return self.rows[4:6].T

    @property
    def spread(self) -> Floats:
        """[T, 4] variances in sizes: of the centre, of centre and speed, of the speed, of the sides."""
        return self.rows[6:].T

    def take(self, chosen: Chosen) -> "Motion":
        """The tracks of an index or a mask."""
        return Motion(self.rows[:, chosen])

    def beside(self, other: "Motion") -> "Motion":
        """These tracks, then those."""
        return Motion(np.concatenate([self.rows, other.rows], axis=1))

    def put(self, chosen: Chosen, other: "Motion") -> "Motion":
        """Those in the place of the chosen."""
        rows = self.rows.copy()
        rows[:, chosen] = other.rows
        return Motion(rows)


def began(boxes: Floats) -> Motion:
    """Tracks of boxes [T, 4] (x1, y1, x2, y2) that were seen for the first time."""
    rows = np.zeros((10, len(boxes)))
    rows[:4] = _placed(boxes.T)
    rows[6] = rows[9] = MEASURED**2
    rows[8] = FIRST_SPEED**2
    return Motion(rows)


def predicted(motion: Motion, seconds: float) -> Motion:
    """What is believed so much later, nothing having been seen."""
    rows = motion.rows.copy()
    centre, both, speed, sides = rows[6:]
    rows[:2] += seconds * rows[4:6]
    centre += seconds * (2 * both + seconds * (speed + seconds * TURN**2 / 3) + STRAY**2)
    both += seconds * (speed + seconds * TURN**2 / 2)
    speed += seconds * TURN**2
    sides += seconds * GROW**2
    return Motion(rows)


def corrected(motion: Motion, boxes: Floats) -> Motion:
    """What is believed when the tracks were seen in boxes [T, 4]."""
    rows = motion.rows.copy()
    centre, both, speed, sides = rows[6:]
    noise = MEASURED**2
    certain = centre + noise
    by_place, by_speed, by_sides = centre / certain, both / certain, sides / (sides + noise)
    off = _placed(boxes.T) - rows[:4]
    rows[:2] += by_place * off[:2]
    rows[2:4] = np.maximum(rows[2:4] + by_sides * off[2:], LEAST)
    rows[4:6] += by_speed * off[:2]
    speed -= by_speed * both
    centre *= 1 - by_place
    both *= 1 - by_place
    sides *= 1 - by_sides
    return Motion(rows)


def _placed(boxes: Floats) -> Floats:
    """Centres and sides [4, T] of boxes [4, T]; a side has at least a pixel."""
    low, high = boxes[:2], boxes[2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, LEAST)])


def boxed(place: Floats) -> Floats:
    """Boxes [T, 4] of centres and sides [T, 4]."""
    centre, half = place[:, :2], place[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def slack(motion: Motion) -> Floats:
    """[T] pixels by which a centre may be off beyond what a detection's own noise explains: one standard deviation."""
    share = np.maximum(np.sqrt(motion.rows[6]) - 1.5 * MEASURED, 0)
    pixels: Floats = share * np.sqrt(motion.rows[2] * motion.rows[3])
    return pixels
