"""Levels under integer tables chosen by their neighbours: the reference that neighbours.c must equal byte for byte.

Levels [C, H, W] of a tensor are coded row by row, in a row column by column, in a column channel by channel. Each level
falls into one of four buckets, and the buckets of the four neighbours that precede it in its own channel are its
context, bits 0 to 7:

    above left (6, 7) | above (2, 3) | above right (4, 5)
    left (0, 1)       | the level

What lies outside is in bucket 0. Each channel belongs to a class; table 256 * class + context codes the level, by
rANS. The tensors of a cut follow one another in one stream. All of it is counted at calibration (`learn`).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel, rans

CONTEXTS = 256
BUCKETS = 4
MOST_LEVELS = rans.MOST_SYMBOLS
MOST_CLASSES = 16
"""Of those that `learn` makes; a decoder takes as many as there are tables for."""
PRIOR = 12.0
"""A table starts from what its context does in all classes, as if that had been seen so many times."""

Features = NDArray[np.float32]
Levels = NDArray[np.uint8]
Shape = tuple[int, ...]
Counts = NDArray[np.float64]


class Model:
    """What codes levels 0..N-1: buckets uint8 [N], classes uint8 [channels of all tensors], uint16 [256 K, N].

    Raises ValueError if they do not fit each other.
    """

    def __init__(self, buckets: NDArray[np.uint8], classes: NDArray[np.uint8], frequencies: NDArray[np.uint16]) -> None:
        self.tables = rans.Tables(frequencies)
        rows, levels = frequencies.shape
        if buckets.dtype != np.uint8 or buckets.shape != (levels,) or buckets.max() >= BUCKETS:
            raise ValueError(
                f"buckets: expected {levels} uint8 below {BUCKETS}, got {buckets.dtype} {buckets.tolist()}"
            )
        if classes.dtype != np.uint8 or classes.ndim != 1 or (int(classes.max()) + 1) * CONTEXTS > rows:
            raise ValueError(
                f"classes: expected uint8 below {rows // CONTEXTS}, got {classes.dtype} {classes.tolist()}"
            )
        if not frequencies.all():
            raise ValueError("frequencies: expected every level to have one in every context")
        self.classes, self.frequencies = classes, frequencies
        self.buckets = np.zeros(MOST_LEVELS, np.uint8)
        self.buckets[:levels] = buckets
        self.levels = levels

    def encode(self, q: Levels, shapes: Sequence[Shape]) -> bytes:
        """Levels of the tensors of these shapes, one after the other, by the kernel."""
        sizes = np.array(shapes, np.int32)
        return _kernel.neighbours_encode(q, sizes, self.classes, self.buckets, self.tables.rows, self.tables.stride)

    def decode(self, data: bytes | memoryview, q: Levels, shapes: Sequence[Shape]) -> bool:
        """Into q, flat; whether data is what `encode` makes of that."""
        sizes = np.array(shapes, np.int32)
        model = self.classes, self.buckets, self.tables.rows, self.tables.stride
        return _kernel.neighbours_decode(data, q, sizes, *model)

    def bits(self, q: Levels, shapes: Sequence[Shape]) -> float:
        """The ideal length of the levels under the tables."""
        return sum(self.tables.bits(in_order(part), index) for part, index in self.indices(q, shapes))

    def indices(self, q: Levels, shapes: Sequence[Shape]) -> Iterator[tuple[Levels, NDArray[np.int64]]]:
        """Each tensor [C, H, W], and the table of each of its levels in coding order."""
        for part, classes in zip(tensors(q, shapes), per_tensor(self.classes, shapes), strict=True):
            first = CONTEXTS * classes.astype(np.int64)[:, None, None]
            yield part, in_order(first + contexts(self.buckets[part]))


def encode(model: Model, q: Levels, shapes: Sequence[Shape]) -> bytes:
    """The reference for `Model.encode`."""
    encoder = rans.Encoder(model.tables)
    for part, index in model.indices(q, shapes):
        encoder.put(in_order(part), index)
    return encoder.finish()


def decode(model: Model, data: bytes, shapes: Sequence[Shape]) -> Levels:
    """The reference for `Model.decode`, pixel by pixel. Raises BitstreamError."""
    decoder = rans.Decoder(data, model.tables)
    q = [np.zeros(shape, np.uint8) for shape in shapes]
    for part, classes in zip(q, per_tensor(model.classes, shapes), strict=True):
        first = CONTEXTS * classes.astype(np.int64)
        known = np.zeros((len(classes), part.shape[1] + 1, part.shape[2] + 2), np.uint8)  # buckets; a frame of zeros
        for y, x in np.ndindex(part.shape[1:]):
            left, above_left, above, above_right = known[:, y + 1, x], *known[:, y, x : x + 3].T
            part[:, y, x] = decoder.take(first + (left | above << 2 | above_right << 4 | above_left << 6))
            known[:, y + 1, x + 1] = model.buckets[part[:, y, x]]
    decoder.end()
    return np.concatenate([part.ravel() for part in q])


def contexts(buckets: Levels) -> Levels:
    """The context of each level of a tensor whose levels are in these buckets, both [C, H, W]."""
    known = np.pad(buckets, ((0, 0), (1, 0), (1, 1)))
    left, above = known[:, 1:, :-2], known[:, :-1]
    return (left | above[..., 1:-1] << 2 | above[..., 2:] << 4 | above[..., :-2] << 6).astype(np.uint8)


def in_order(tensor: NDArray[Any]) -> NDArray[Any]:
    """[C, H, W] as it is coded: flat, channels innermost."""
    return tensor.transpose(1, 2, 0).ravel()


def tensors(q: NDArray[Any], shapes: Sequence[Shape]) -> list[NDArray[Any]]:
    """Flat numbers, cut into tensors."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(q.ravel(), ends[:-1]), shapes, strict=True)]


def per_tensor(classes: NDArray[np.uint8], shapes: Sequence[Shape]) -> list[NDArray[np.uint8]]:
    """Something of each channel, cut into tensors."""
    return np.split(classes, np.cumsum([shape[0] for shape in shapes])[:-1])


# ---- Calibration ----------------------------------------------------------------------------------------------------


def learn(samples: Sequence[Levels], shapes: Sequence[Shape], levels: int, classes: NDArray[np.uint8]) -> Model:
    """Count: buckets and tables for N = `levels`, from the flat levels of many frames and the classes of channels."""
    buckets = split(pairs(samples, shapes, levels))
    counts = np.zeros(((int(classes.max()) + 1) * CONTEXTS, levels))
    for q in samples:
        for part, own in zip(tensors(q, shapes), per_tensor(classes, shapes), strict=True):
            index = CONTEXTS * own.astype(np.int64)[:, None, None] + contexts(buckets[part])
            counts += np.bincount((index * levels + part).ravel(), minlength=counts.size).reshape(counts.shape)
    return Model(buckets, classes, integers(smooth(counts)))


def rank(samples: Sequence[Features], shapes: Sequence[Shape]) -> NDArray[np.uint8]:
    """Channels in classes of equal size by their mean, from the flat features of many frames."""
    total = sum(samples, np.zeros(1)) / len(samples)
    means = [part.mean(axis=(1, 2)) for part in tensors(total, shapes)]
    order = np.argsort(np.argsort(np.concatenate(means), kind="stable"))
    return (order * min(MOST_CLASSES, len(order)) // len(order)).astype(np.uint8)


def pairs(samples: Sequence[Levels], shapes: Sequence[Shape], levels: int) -> Counts:
    """How often a level has which level on its left and which above: [left, above, level]."""
    found = np.zeros(levels**3)
    for q in samples:
        for part in tensors(q, shapes):
            left, above, own = (part[:, y, x].astype(np.int64) for y, x in NEIGHBOURS)
            found += np.bincount(((left * levels + above) * levels + own).ravel(), minlength=found.size)
    return found.reshape(levels, levels, levels)


NEIGHBOURS = (
    (slice(1, None), slice(None, -1)),
    (slice(None, -1), slice(1, None)),
    (slice(1, None), slice(1, None)),
)
"""Left, above and the level itself, where all three exist."""


def split(found: Counts) -> NDArray[np.uint8]:
    """The four runs of levels that tell most as left and upper neighbours: least conditional entropy."""
    levels = len(found)
    if levels <= BUCKETS:
        return np.arange(levels, dtype=np.uint8)
    starts = min(combinations(range(1, levels), BUCKETS - 1), key=lambda cuts: cost(found, [0, *cuts]))
    return np.searchsorted(starts, np.arange(levels), side="right").astype(np.uint8)


def cost(found: Counts, starts: list[int]) -> float:
    """Bits of the levels, known the buckets that start there of both neighbours."""
    counts = np.add.reduceat(np.add.reduceat(found, starts, axis=0), starts, axis=1)
    return float((counts * np.log2((counts.sum(axis=2, keepdims=True) + 1e-9) / (counts + 1e-9))).sum())


def smooth(counts: Counts) -> Counts:
    """Probabilities [256 K, N]: what was rarely seen is like its context in all classes, and that like everything."""
    every = counts.sum(axis=0) + 1
    pooled = counts.reshape(-1, CONTEXTS, counts.shape[1]).sum(axis=0) + PRIOR * every / every.sum()
    prior = PRIOR * pooled / pooled.sum(axis=1, keepdims=True)
    mixed = counts + np.tile(prior, (len(counts) // CONTEXTS, 1))
    probabilities: Counts = mixed / mixed.sum(axis=1, keepdims=True)
    return probabilities


def integers(probabilities: Counts) -> NDArray[np.uint16]:
    """Frequencies that sum to 2^14, none of them 0; the most likely level takes what rounding left."""
    rows, levels = probabilities.shape
    sizes = 1 + np.floor(probabilities * (rans.TOTAL - levels)).astype(np.int64)
    sizes[np.arange(rows), probabilities.argmax(axis=1)] += rans.TOTAL - sizes.sum(axis=1)
    frequencies: NDArray[np.uint16] = sizes.astype(np.uint16)
    return frequencies
