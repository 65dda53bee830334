"""From videos to the tables of frames that are coded after others (common/codec/temporal.npz).

As `tables` for frames alone: coded, counted and coded again, since dead zones, costs and counts depend on each other.
Here the reference depends on them, too, so every round codes the videos from their first frame.
Nothing is moved (`common.codec.motion`): what is left of what moved is spread as what is left of what stayed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import temporal
from common.codec.coefficients import BINS, ESCAPE, SYMBOLS, Planes
from common.codec.temporal import CLASSES, Changes, Told, Walk
from train.calibration.tables import PLAIN, Counts, bits_of, expected_of, frequencies, offsets, thresholds_of

ROUNDS = 3
TABLES = CLASSES * BINS

Array = NDArray[Any]


class Clip(NamedTuple):
    """A video's coefficients at one quality."""

    quality: int
    scale: NDArray[np.int32]
    """[plane]."""
    values: NDArray[np.float32]
    """[frame, plane, block], in steps."""
    lag: int
    """Each frame is coded after the one so many before it."""


def learn(clips: Sequence[Clip]) -> dict[str, Array]:
    """The arrays of `Changes`."""
    model = opening()
    for _ in range(ROUNDS):
        counts = count(clips, model)
        model = counted(counts, thresholds_of(bits_of(counts.seen)))
    model = counted(count(clips, model), model.thresholds)
    return {name: getattr(model, name) for name in ("expected", "frequencies", "offset", "thresholds")}


def opening() -> Changes:
    """Tables before anything is known: sizes fall by halves, and are twice as likely in each class than in the last."""
    mean = np.outer(2.0 ** (np.arange(CLASSES) / 4 - 2.5), np.arange(1, BINS + 1) / 5).reshape(-1, 1)
    shares = (mean / (1 + mean)) ** np.arange(SYMBOLS) / (1 + mean)
    plain = np.tile(np.arange(ESCAPE) + PLAIN, (TABLES, 1)).astype(np.float16)
    expected = np.clip(256 * 2.0 ** (np.arange(CLASSES) / 4 - 3.5), 1, 1024).astype(np.uint16)
    return Changes(expected, frequencies(shares * 1e5), np.zeros((TABLES, SYMBOLS), np.int8), plain)


def counted(counts: Counts, cells: NDArray[np.float16]) -> Changes:
    """The tables of what was counted."""
    return Changes(expected_of(counts), frequencies(counts.seen), offsets(counts), cells)


def count(clips: Sequence[Clip], model: Changes) -> Counts:
    """Code all clips with these tables."""
    counts = Counts.none(CLASSES)
    for clip in clips:
        numbers, shifts, norms = temporal.classes(clip.scale, clip.quality)
        planes = Planes(clip.values.shape[2], numbers, shifts)
        held: list[Array] = []
        for frame in clip.values:
            if len(held) < clip.lag:
                held.append(first(frame))
            else:
                held.append(_after(frame, Told(planes, norms, held[-clip.lag]), model, counts))
    return counts


def first(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Levels of a frame that is coded alone, nearly."""
    return (np.sign(values) * np.floor(np.abs(values) + (1 - PLAIN)) * temporal.POINT).astype(np.int32)


def _after(values: NDArray[np.float32], told: Told, model: Changes, counts: Counts) -> NDArray[np.int32]:
    """Levels of a frame that is coded after another; what it met is counted."""
    walk, levels = Walk(model, told), np.empty(values.shape, np.int32)
    for plane, index, shift, predicted in walk:
        difference = values[plane] - predicted.astype(np.float32) / np.float32(temporal.POINT)
        sizes = model.quantise(difference, index, shift)
        symbols = np.minimum(sizes >> shift, ESCAPE)
        counts.add(index, symbols, np.abs(difference), int(told.planes.classes[plane]), whole=not shift)
        levels[plane] = temporal.moved(model, predicted, np.where(difference < 0, -sizes, sizes), index, shift)
        walk.code(symbols, levels[plane])
    return levels
