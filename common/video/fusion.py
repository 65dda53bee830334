"""What base layer and earlier frames add to a decoded frame: a small network of integers, the same on every machine.

frame [24], frame before less this one [24], features of the base layer [16], quantiser [1]    in cells of 4 x 4
-> 3x3 convolutions -> what to add [24], in 1/16
"""

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec.integers import Arrays, IntegerNet
from common.video.planes import CHANNELS, Cells, Planes, cells_of, moved

FILE = Path(__file__).with_name("fusion.npz")
FEATURES = 16
INPUTS = 2 * CHANNELS + FEATURES + 1
DIGITS = 4
"""Of 1/16."""
MOST_CHANGE = 64
"""Levels that a sample may change by."""


class Fusion:
    """The network from arrays: "body.*" and "head.*" of `IntegerNet`, and "bundle", whose features it knows."""

    def __init__(self, arrays: Arrays) -> None:
        """Raise KeyError or ValueError if they do not fit."""
        self._body, self._head = (IntegerNet.from_arrays(arrays, part) for part in ("body", "head"))
        if self._body.inputs != INPUTS or self._head.inputs != self._body.outputs or self._head.outputs != CHANNELS:
            raise ValueError(f"fusion: expected {INPUTS} channels to {CHANNELS}")
        if self._body.doublings or self._head.doublings or len(self._head.layers) != 1:
            raise ValueError("fusion: expected one layer in the head, and no shuffles")
        if not self._body.layers[-1].relu or self._head.layers[0].relu:
            raise ValueError("fusion: expected a relu at the end of the body, and none in the head")
        self.bundle = arrays["bundle"].tobytes()
        self.name = named(arrays)

    @property
    def multiply_adds(self) -> float:
        """For one pixel."""
        return sum(layer.weight.size for net in (self._body, self._head) for layer in net.layers) / 16

    def __call__(self, frame: Planes, before: Planes, features: Cells | None, quantiser: int) -> Planes:
        """The frame, with what is added. `before` was decoded before it; `features` [16, rows, columns], if known."""
        own = cells_of(frame)
        change = self._head(self._body(inputs(own, cells_of(before), features, quantiser)))
        rounded = (change + (1 << (DIGITS - 1))) >> DIGITS
        return moved(frame, np.clip(rounded, -MOST_CHANGE, MOST_CHANGE))


def inputs(frame: Cells, before: Cells, features: Cells | None, quantiser: int) -> Cells:
    """[INPUTS, rows, columns] of what the network is told."""
    size = frame.shape[1:]
    known = np.zeros((FEATURES, *size), np.int16) if features is None else features
    return np.concatenate([frame, before - frame, known, np.full((1, *size), 4 * quantiser - 128, np.int16)])


def named(arrays: Arrays) -> bytes:
    """Six bytes that tell these arrays from others."""
    digest = blake2b(digest_size=6)
    for name in sorted(arrays):
        value: NDArray[Any] = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape} ".encode() + value.tobytes())
    return digest.digest()


@cache
def shipped() -> Fusion | None:
    """The network that comes with this program, if one does."""
    if not FILE.is_file():
        return None
    with np.load(FILE, allow_pickle=False) as arrays:
        return Fusion(dict(arrays))
