"""Where objects are believed to be: a Kalman filter for all tracks at once, for frames at any distance in time.

The centre moves at a velocity that wanders, width and height wander by themselves. Both axes of the centre are as
uncertain as each other, both sides too, and all of it in shares of the object's size: so four variances a track say
everything, and a track far away behaves as one near by.
"""

from dataclasses import dataclass

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
    """What is believed of T tracks."""

    place: Floats
    """[T, 4] x and y of the centre, width, height: pixels."""
    speed: Floats
    """[T, 2] of the centre, pixels a second."""
    spread: Floats
    """[T, 4] variances in sizes: of the centre, of centre and speed, of the speed, of the sides."""

    def take(self, chosen: Chosen) -> "Motion":
        """The tracks of an index or a mask."""
        return Motion(self.place[chosen], self.speed[chosen], self.spread[chosen])

    def beside(self, other: "Motion") -> "Motion":
        """These tracks, then those."""
        pairs = ((self.place, other.place), (self.speed, other.speed), (self.spread, other.spread))
        return Motion(*(np.concatenate(pair) for pair in pairs))

    def put(self, chosen: Chosen, other: "Motion") -> "Motion":
        """Those in the place of the chosen."""
        out = Motion(self.place.copy(), self.speed.copy(), self.spread.copy())
        out.place[chosen], out.speed[chosen], out.spread[chosen] = other.place, other.speed, other.spread
        return out


def began(boxes: Floats) -> Motion:
    """Tracks of boxes [T, 4] (x1, y1, x2, y2) that were seen for the first time."""
    count = len(boxes)
    first = np.array([MEASURED**2, 0, FIRST_SPEED**2, MEASURED**2])
    return Motion(placed(boxes), np.zeros((count, 2)), np.tile(first, (count, 1)))


def predicted(motion: Motion, seconds: float) -> Motion:
    """What is believed so much later, nothing having been seen."""
    centre, both, speed, sides = motion.spread.T
    place = motion.place.copy()
    place[:, :2] += seconds * motion.speed
    spread = np.stack(
        [
            centre + seconds * (2 * both + seconds * (speed + seconds * TURN**2 / 3) + STRAY**2),
            both + seconds * (speed + seconds * TURN**2 / 2),
            speed + seconds * TURN**2,
            sides + seconds * GROW**2,
        ],
        axis=1,
    )
    return Motion(place, motion.speed, spread)


def corrected(motion: Motion, boxes: Floats) -> Motion:
    """What is believed when the tracks were seen in boxes [T, 4]."""
    centre, both, speed, sides = motion.spread.T
    noise = MEASURED**2
    by_place, by_speed, by_sides = centre / (centre + noise), both / (centre + noise), sides / (sides + noise)
    off = placed(boxes) - motion.place
    gain = np.stack([by_place, by_place, by_sides, by_sides], axis=1)
    place = motion.place + gain * off
    place[:, 2:] = np.maximum(place[:, 2:], LEAST)
    spread = [(1 - by_place) * centre, (1 - by_place) * both, speed - by_speed * both, (1 - by_sides) * sides]
    return Motion(place, motion.speed + by_speed[:, None] * off[:, :2], np.stack(spread, axis=1))


def placed(boxes: Floats) -> Floats:
    """Centres and sides [T, 4] of boxes [T, 4]; a side has at least a pixel."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, LEAST)], axis=1)


def boxed(place: Floats) -> Floats:
    """Boxes [T, 4] of centres and sides [T, 4]."""
    half = place[:, 2:] / 2
    return np.concatenate([place[:, :2] - half, place[:, :2] + half], axis=1)


def slack(motion: Motion) -> Floats:
    """[T] pixels by which a centre may be off beyond what a detection's own noise explains: one standard deviation."""
    share = np.maximum(np.sqrt(motion.spread[:, 0]) - 1.5 * MEASURED, 0)
    size: Floats = np.sqrt(motion.place[:, 2] * motion.place[:, 3])
    return share * size
