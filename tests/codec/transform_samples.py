"""Bases, models and windows for the tests of the transform codec."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import coefficients
from common.codec.basis import Basis
from common.codec.coefficients import CLASSES, ESCAPE, SYMBOLS, TABLES, Model
from common.codec.window import Window

Array = NDArray[np.float32]
SIZES = st.integers(1, 21)


@st.composite
def spans(draw: st.DrawFn, most: int = 700) -> tuple[int, int, int]:
    """low, high, size with 0 <= low < high <= size."""
    size = draw(st.integers(1, most))
    low = draw(st.integers(0, size - 1))
    return low, draw(st.integers(low + 1, size)), size


@st.composite
def windows(draw: st.DrawFn) -> Window | None:
    if draw(st.booleans()):
        return None
    (left, right, width), (top, bottom, height) = draw(spans()), draw(spans())
    return Window(left, top, right, bottom, width, height)


def orthogonal(rng: np.random.Generator, size: int) -> Array:
    return np.linalg.qr(rng.normal(size=(size, size)))[0].astype(np.float32)


def falling(rng: np.random.Generator, count: int) -> NDArray[np.int16]:
    return np.sort(rng.integers(-700, 300, count))[::-1].astype(np.int16)


def complete(shape: tuple[int, int, int], block: int, seed: int = 0, turned: int = 0) -> Basis:
    """An orthonormal basis of every channel and frequency, in random order: nothing is lost but by rounding."""
    rng, channels = np.random.default_rng(seed), shape[0]
    rows = np.concatenate([orthogonal(rng, channels) for _ in range(block**2)])
    order, turned = rng.permutation(len(rows)), min(turned, len(rows))
    turn = orthogonal(rng, turned) if turned else np.zeros((0, 0), np.float32)
    return Basis(
        block=block,
        mean=rng.normal(size=channels).astype(np.float32),
        frequency=np.repeat(np.arange(block**2), channels)[order].astype(np.uint8),
        forward=rows[order],
        inverse=rows[order],
        scale=falling(rng, len(rows)),
        blank=rng.normal(size=shape).astype(np.float16),
        turn=turn,
        unturn=np.ascontiguousarray(turn.T),
        turned=falling(rng, turned),
    )


def model(seed: int = 0) -> Model:
    """Tables that differ wherever they can."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 2000, (TABLES, SYMBOLS)) * 0.6 ** np.arange(SYMBOLS)
    sizes = 1 + (weights * (16384 - SYMBOLS) / weights.sum(axis=1, keepdims=True)).astype(np.int64)
    sizes[:, 0] += 16384 - sizes.sum(axis=1)
    return Model(
        expected=rng.integers(0, 1025, CLASSES).astype(np.uint16),
        frequencies=sizes.astype(np.uint16),
        offset=rng.integers(-60, 60, (TABLES, SYMBOLS)).astype(np.int8),
        thresholds=(np.arange(ESCAPE) + np.sort(rng.uniform(0.4, 1.2, (TABLES, ESCAPE)))).astype(np.float16),
    )


def planes(rng: np.random.Generator, count: int, blocks: int, quality: int = 256) -> coefficients.Planes:
    """Of every class, and some with shifts."""
    return coefficients.Planes(blocks, *coefficients.classes(rng.integers(-120, 700, count), quality))


def bundle(shapes: list[list[int]], block: int, turned: int, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The [codec] table and the arrays of a bundle."""
    params = {"shapes": shapes, "block": block, "margin": 97, "qualities": [100, 900], "default_quality": 300}
    arrays: dict[str, Any] = {}
    for t, (channels, height, width) in enumerate(shapes):
        basis = complete((channels, height, width), block, seed + t, turned)
        for name in ("mean", "blank", "frequency", "forward", "inverse", "scale", "turn", "unturn", "turned"):
            array = getattr(basis, name)
            arrays[f"{t}.{name}"] = array.astype(np.float16) if name.endswith("turn") else array
    coded = model(seed)
    names = ("expected", "frequencies", "offset", "thresholds")
    return params, arrays | {name: getattr(coded, name) for name in names}
