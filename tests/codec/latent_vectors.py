"""Golden vectors of sections 10 to 12 of docs/bitstream.md: the bytes of these latents, today and ever after.

tests/vectors/codec/latent holds NAME.bin, a payload, for each case, and cases.npz with NAME.fixed, the latent that
comes back, NAME.z, what it came with, in 1/64, NAME.cells, NAME.context if there is any, and the arrays of the layers
"one", "two" and, in passes, "three": a case is of the layer before its dash. Integers only. To write them anew, after a
change of format:

    python -m tests.codec.latent_vectors
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec.arithmetic import REFERENCE
from common.codec.elements import SCALES, Cells, Features, Parameters, quantise_reference
from common.codec.integers import RELU, SHUFFLE
from common.codec.latent import LatentCoder
from common.codec.passes import ALL, EVEN, ODD, seen
from common.codec.rounding import NEAREST, Thresholds
from common.codec.values import Values
from tests.codec.rans_vectors import rows
from tests.codec.vectors import FOLDER as PARENT
from tests.codec.vectors import noise

FOLDER = PARENT / "latent"
UNIT = 300
PARAMS = {"unit": UNIT, "qualities": [0, 700], "default_quality": UNIT}
LEVELS = 3
HIDDEN = 6
Arrays = dict[str, NDArray[Any]]
Order = list[tuple[int, int, int]]
ORDER = [(0, 2, EVEN), (0, 2, ODD), (2, 5, ALL), (5, 9, EVEN), (5, 9, ODD)]
EXPONENTS = [-16, 8, -2, -1, 0, -3, 3, -4, 1]
"""Of the layer in passes."""


def nearest(y: Features, cells: Cells, known: Parameters, thresholds: Thresholds, step: int) -> Values:
    """The numbers of the vectors, whatever an encoder prefers today: the nearest, and so of what came back its own."""
    return quantise_reference(y, cells, known, np.where(thresholds > 1, thresholds, NEAREST), step)


def draws(shape: tuple[int, ...], low: int, high: int, seed: int) -> NDArray[np.int32]:
    """Integers from low to high."""
    values = (noise(int(np.prod(shape)), seed) >> 4).astype(np.int64) % (high - low + 1) + low
    return values.reshape(shape).astype(np.int32)


def net(inputs: int, layers: list[tuple[int, int, int, int]], limit: int, seed: int) -> Arrays:
    """Of each layer outputs, size, kind and shift."""
    arrays: Arrays = {"kinds": np.array([kind for *_, kind, _ in layers], np.uint8), "input_limit": np.array(limit)}
    for number, (outputs, size, kind, shift) in enumerate(layers):
        arrays[f"{number}.weight"] = draws((outputs, inputs, size, size), -900, 900, seed + number).astype(np.int16)
        arrays[f"{number}.bias"] = draws((outputs,), -9000, 9000, seed + number + 10)
        arrays[f"{number}.shift"] = draws((outputs,), shift - 1, shift + 1, seed + number + 20).astype(np.uint8)
        inputs = outputs // 4 if kind & SHUFFLE else outputs
    return arrays


def coding_rows(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Low bits and frequencies; every seventh row is silent."""
    bits, frequencies = draws((count,), -4, 9, seed).clip(0).astype(np.uint8), rows(count, 16, seed)
    bits[::7], frequencies[::7], frequencies[::7, 7] = 0, 0, 1 << 14
    return bits, frequencies


def passes(inputs: int, order: Order, seed: int) -> dict[str, Arrays]:
    """The networks of passes whose heads take so many inputs besides their own context."""
    nets: dict[str, Arrays] = {}
    for number, (first, end, parity) in enumerate(order):
        own, seed = 3 + number % 2, seed + 100
        if known := seen(first, end, parity):
            layers, limit = [(5, 3, RELU, 10), (own, 1, RELU, 10)], 1000 if number % 2 else 32767
            nets[f"pass.{number}.context"] = net(known, layers, limit, seed)
        layers = [(2 * (end - first), 1, 0, 15)]
        nets[f"pass.{number}.head"] = net(inputs + own * (known > 0), layers, 4095 - 1000 * (number % 2), seed + 40)
    return nets


def layer(channels: int, hyper: int, halvings: int, context: int, seed: int, order: Order | None = None) -> Arrays:
    """The arrays of one layer."""
    layers = [(HIDDEN, 3, RELU, 6), *[(4 * HIDDEN, 1, RELU | SHUFFLE, 9)] * halvings]
    nets = {"decoder": net(hyper, layers, 2047, seed)}
    if order:
        nets |= passes(HIDDEN + context, order, seed + 1000)
    else:
        nets["head"] = net(HIDDEN + context, [(2 * channels, 1, 0, 15)], 4095, seed + 40)
    if context:
        nets["context"] = net(channels, [(context, 3, RELU, 12)], 32767, seed + 80)
    arrays = {f"{name}.{part}": array for name, parts in nets.items() for part, array in parts.items()}
    arrays["y.bits"], arrays["y.frequencies"] = coding_rows(SCALES, seed + 1)
    arrays["z.bits"], arrays["z.frequencies"] = coding_rows(LEVELS * hyper, seed + 2)
    if order:
        arrays["passes"] = np.array(order, np.uint16)
    return arrays | {
        "exponent": draws((channels,), -4, 3, seed + 3).astype(np.int8),
        "offset": draws((LEVELS, SCALES), -100, 400, seed + 4).astype(np.int16),
        "levels": np.array([100, 250, 420], np.uint16),
        "z_step": np.array([128, 77, 40], np.int32),
        "centre": draws((hyper,), -90, 90, seed + 5),
    }


def layers() -> dict[str, Arrays]:
    return {
        "one": layer(6, 4, 1, 0, 100),
        "two": layer(5, 3, 2, 2, 500),
        "three": layer(9, 3, 2, 2, 2000, ORDER) | {"exponent": np.array(EXPONENTS, np.int8)},
    }


def coder(arrays: Arrays) -> LatentCoder:
    return LatentCoder.from_params(PARAMS, {f"layer.{name}": array for name, array in arrays.items()}, "layer")


CASES: dict[str, tuple[int, tuple[int, int], Cells, int]] = {
    "one-all": (300, (6, 8), Cells(0, 0, 6, 8), 300),
    "one-part": (350, (10, 10), Cells(2, 1, 7, 10), 300),
    "one-cell": (120, (2, 2), Cells(1, 0, 2, 1), 300),
    "one-coarse": (0, (4, 6), Cells(0, 0, 4, 6), 9000),
    "one-fine": (560, (4, 4), Cells(0, 1, 4, 4), 40),
    "one-long": (260, (30, 28), Cells(0, 0, 30, 28), 700),
    "two-all": (260, (4, 8), Cells(0, 0, 4, 8), 500),
    "two-part": (430, (8, 8), Cells(3, 2, 7, 7), 500),
    "two-wild": (300, (4, 4), Cells(0, 0, 4, 4), 900_000),
    "three-all": (300, (4, 8), Cells(0, 0, 4, 8), 300),
    "three-part": (350, (8, 8), Cells(3, 2, 8, 7), 300),
    "three-cell": (260, (4, 4), Cells(1, 2, 2, 3), 300),
    "three-row": (430, (4, 8), Cells(2, 1, 3, 8), 300),
    "three-wild": (300, (4, 4), Cells(0, 0, 4, 4), 900_000),
}
"""Name: quality, size, cells, how far values reach, in 1/16."""


def made(name: str, of: LatentCoder) -> tuple[bytes, Arrays]:
    """The payload of a case, by the reference, and what comes of it."""
    quality, (height, width), cells, reach = CASES[name]
    seed = 1000 + 50 * list(CASES).index(name)
    y = draws((of.channels, height, width), -reach, reach, seed).astype(np.float32) / 16
    point = of.point(quality)
    q = draws((of.hyper, height >> of.halvings, width >> of.halvings), -5, 5, seed + 1)
    z = q * point.z_step + of.model.centre[:, None, None]
    case: Arrays = {"z": z.astype(np.int32), "cells": np.array(cells)}
    if of.context:
        case["context"] = draws((of.context, height, width), -6000, 6000, seed + 2)
    of.arithmetic = REFERENCE._replace(quantise=nearest)
    payload, case["fixed"] = of.encode(y, (z / 64).astype(np.float32), quality, cells, case.get("context"))
    return payload, case


def expected() -> dict[str, tuple[bytes, Arrays]]:
    """Name: payload and case."""
    known = layers()
    return {name: made(name, coder(known[name.partition("-")[0]])) for name in CASES}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    arrays = {f"{name}.{part}": array for name, parts in layers().items() for part, array in parts.items()}
    for name, (payload, case) in expected().items():
        (FOLDER / f"{name}.bin").write_bytes(payload)
        arrays |= {f"{name}.{part}": array for part, array in case.items()}
    np.savez_compressed(FOLDER / "cases.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
