"""How long the tracker takes for a frame of a crowd."""

import time
from typing import NamedTuple

import numpy as np

from common.tracking import Seen, State, step

OBJECTS = 50
FRAMES = 200
RATE = 25


class Speed(NamedTuple):
    """Milliseconds a frame of one thread's own time, whatever else the machine does."""

    median: float
    p95: float


def speed(objects: int = OBJECTS, frames: int = FRAMES) -> Speed:
    """So many people who walk through 1080p, one in ten of them faint, and as many faint detections of nothing."""
    rng = np.random.default_rng(0)
    start, pace = rng.uniform(0, 1800, (objects, 2)), rng.normal(0, 50, (objects, 2))
    size = rng.uniform(30, 150, (objects, 2))
    state, next_id, took = State(), 1, []
    for number in range(frames):
        corner = start + pace * number / RATE
        nothing = rng.uniform(0, 1800, (objects, 2))
        boxes = np.block([[corner, corner + size], [nothing, nothing + 40]])
        scores = np.where(rng.random(objects) < 0.1, 0.2, rng.uniform(0.5, 0.9, objects))
        scores = np.concatenate([scores, rng.uniform(0.05, 0.4, objects)])
        seen = Seen(number * 1_000_000 // RATE, boxes, scores, np.array(["person"] * 2 * objects))
        begin = time.thread_time()
        done = step(state, seen, next_id)
        took.append(1e3 * (time.thread_time() - begin))
        state, next_id = done.state, done.next_id
    return Speed(float(np.median(took)), float(np.percentile(took, 95)))
