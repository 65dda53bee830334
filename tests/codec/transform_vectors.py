"""Golden vectors of section 6 of docs/bitstream.md: the bytes of these coefficients, today and ever after.

tests/vectors/codec/transform holds NAME.bin, a stream, for each case, and cases.npz with what goes in: NAME.quality,
NAME.sizes [tensors, 2] with planes and blocks, NAME.scales of all planes, NAME.q of all coefficients, and for all cases
the arrays of the bundle. Integers only. To write them anew, after a change of format that also changes its version:

    python -m tests.codec.transform_vectors
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import coefficients
from common.codec.coefficients import CLASSES, ESCAPE, SYMBOLS, TABLES, TOP, Model, Planes
from tests.codec.rans_vectors import rows
from tests.codec.vectors import FOLDER as PARENT
from tests.codec.vectors import noise

FOLDER = PARENT / "transform"
Arrays = dict[str, NDArray[Any]]

EXACT = np.tile(np.arange(ESCAPE, dtype=np.float16) + np.float16(0.5), (TABLES, 1))
"""Thresholds under which a coefficient is quantised to the nearest integer: an integer to itself."""


def bundle() -> Arrays:
    """What all cases are coded with."""
    offset = (noise(TABLES * SYMBOLS, 5) >> 4).reshape(TABLES, SYMBOLS) % 120
    return {
        "expected": ((noise(CLASSES, 3) >> 6) % 1025).astype(np.uint16),
        "frequencies": rows(TABLES, SYMBOLS, 4),
        "offset": (offset.astype(np.int64) - 60).astype(np.int8),
    }


def model(arrays: Arrays) -> Model:
    return Model(arrays["expected"], arrays["frequencies"], arrays["offset"], EXACT)


def sized(count: int, most: int, seed: int) -> NDArray[np.int32]:
    """Coefficients of both signs, small ones more often."""
    draws = (noise(count, seed) >> 8).astype(np.int64)
    size = draws**3 * (most + 1) >> 48
    return np.where(noise(count, seed + 1) >> 9 & 1, size, -size).astype(np.int32)


def cases() -> dict[str, Arrays]:
    """Name: quality, sizes, scales and q."""
    made = {}
    for name, quality, sizes, top, most in (
        ("nothing", 256, [(0, 9)], 0, 0),
        ("zeros", 300, [(40, 12)], 100, 0),
        ("small", 256, [(60, 15)], 200, 6),
        ("one-block", 256, [(90, 1)], 150, 12),
        ("escapes", 200, [(20, 16)], 180, 400),
        ("shifts", 700, [(30, 11)], 300, 5000),
        ("extremes", 1023, [(8, 8)], 800, TOP),
        ("tensors", 280, [(25, 12), (0, 4), (10, 3)], 220, 9),
    ):
        count = sum(planes for planes, _ in sizes)
        falling = [np.linspace(top, -90 - quality + 256, planes).astype(np.int16) for planes, _ in sizes]
        made[name] = {
            "quality": np.array(quality),
            "sizes": np.array(sizes),
            "scales": np.concatenate(falling) if count else np.zeros(0, np.int16),
            "q": sized(sum(planes * blocks for planes, blocks in sizes), most, 70 + count),
        }
    return made


def split(case: Arrays) -> tuple[list[NDArray[np.float32]], list[Planes], list[tuple[list[int], int]]]:
    """Of each tensor its coefficients, its planes, and its scales with its number of blocks."""
    values, known, tensors = [], [], []
    plane = place = 0
    for planes, blocks in case["sizes"].tolist():
        scales = case["scales"][plane : plane + planes]
        values.append(case["q"][place : place + planes * blocks].reshape(planes, blocks).astype(np.float32))
        known.append(Planes(blocks, *coefficients.classes(scales, int(case["quality"]))))
        tensors.append((scales.tolist(), blocks))
        plane, place = plane + planes, place + planes * blocks
    return values, known, tensors


def expected() -> dict[str, bytes]:
    """Name: bytes, by the reference."""
    coder = model(bundle())
    return {name: coefficients.encode(coder, *split(case)[:2]) for name, case in cases().items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, data in expected().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    parts = {f"{name}.{part}": array for name, case in cases().items() for part, array in case.items()}
    np.savez_compressed(FOLDER / "cases.npz", **bundle(), **parts)


if __name__ == "__main__":
    main()
