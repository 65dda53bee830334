"""NanoDet-m as a teacher: what it sees in each augmented picture, cell by cell, for `train.losses.imitation`.

It has our cells, our bins and our eight classes among its eighty, so its raw output is the lesson.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.networks import NanoDet
from common.geometry import GREY
from train.nets.detector import STRIDES

SIZE = 320


class Teacher:
    """Pictures [N,S,S,3] uint8 RGB, S up to 320 -> scores [N,A,8] in 0..1 and side logits [N,A,32]."""

    def __init__(self, path: Path) -> None:
        self.net = NanoDet(path)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the teacher sees in each picture's own cells."""
        size = pixels.shape[1]
        canvas = np.full((SIZE, SIZE, 3), GREY, np.uint8)
        scores, sides = [], []
        for picture in pixels:
            canvas[:size, :size] = picture
            for kept, seen in zip((scores, sides), self.net.raw(canvas), strict=True):
                kept.append(seen[corner(size)])
        return np.stack(scores), np.stack(sides)


def corner(size: int) -> NDArray[np.bool_]:
    """Return which of the 2100 cells [2100] of a 320-pixel input lie in its upper left `size` pixels."""
    inside = []
    for stride in STRIDES:
        near = np.arange(SIZE // stride) < size // stride
        inside.append((near[:, None] & near).reshape(-1))
    return np.concatenate(inside)
