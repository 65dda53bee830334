"""Golden vectors: the bytes that docs/bitstream.md gives to these levels, today and ever after.

tests/vectors/codec holds one NAME.bin of coded levels for each tensor in levels.npz, whole frames, and index.json
with the number of levels of each tensor, the [codec] table of the frames' bundle and the fields of each frame.
Integers only: nothing here depends on how a machine rounds. To write them anew, after a change of format that also
changes its version:

    python -m tests.codec.vectors
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import Container, Kind, Layer, Lightweight, cabac, pack

FOLDER = Path(__file__).parents[1] / "vectors" / "codec"
PARAMS = {
    "shapes": [[4, 10, 10]],
    "clips": {"4": [0, 9]},
    "tables": {"3": {"thresholds": [1.5, 5.25], "points": [0, 3.125, 7.5]}},
}
CODEC = Lightweight.from_params(PARAMS)


def noise(count: int, seed: int) -> NDArray[np.uint32]:
    """A linear congruential generator, so that the tensors do not depend on NumPy's either."""
    state, values = seed, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        values.append(state >> 8)
    return np.array(values, np.uint32)


def skewed(count: int, levels: int, seed: int) -> NDArray[np.uint8]:
    """Mostly zeros, the rest falling off, and a run that is all one level."""
    draws = (noise(count, seed) >> 12).astype(np.uint64)
    q = np.minimum(levels - 1, (draws**4 * 17 * levels // 10) >> 48).astype(np.uint8)
    q[count // 3 : count // 2] = min(2, levels - 1)
    return q


def tensors() -> dict[str, tuple[int, NDArray[np.uint8]]]:
    """Name: number of levels, levels."""
    cases: dict[str, tuple[int, NDArray[np.uint8]]] = {
        "nothing": (2, np.zeros(0, np.uint8)),
        "one-zero": (2, np.array([0], np.uint8)),
        "one-255": (256, np.array([255], np.uint8)),
        "zeros": (4, np.zeros(5000, np.uint8)),
        "tops": (5, np.full(5000, 4, np.uint8)),
        "alternating": (2, np.arange(1001).astype(np.uint8) & np.uint8(1)),
        "uniform-256": (256, (noise(1000, 9) >> 16).astype(np.uint8)),
    }
    for levels in (2, 3, 4, 7, 8, 16):
        cases[f"skewed-{levels}"] = (levels, skewed(3001, levels, levels))
    return cases


def layer(header: str, levels: int, seed: int) -> Layer:
    """A `lightweight` base layer of CODEC with this header, in hexadecimal."""
    return Layer(Kind.BASE, bytes.fromhex(header) + cabac.encode(skewed(CODEC.sizes[0], levels, seed), levels))


def frames() -> dict[str, Container]:
    """Whole frames: three layers of which the first has four levels, 0 to 9; and one layer of three levels by table."""
    layers = [layer("0300004880", 4, 77), Layer(Kind.ENHANCEMENT, b"enhancement"), Layer(7, b"")]
    bundle = bytes.fromhex("01234567")
    return {
        "frame": Container(bundle, CODEC.id, 4, 1920, 1080, layers, keyframe=False),
        "frame-table": Container(bundle, CODEC.id, 3, 640, 480, [layer("0002", 3, 78)]),
    }


def fields(frame: Container) -> dict[str, Any]:
    """What index.json says of a frame."""
    return asdict(frame) | {"bundle": frame.bundle.hex(), "layers": [layer.kind for layer in frame.layers]}


def index() -> dict[str, Any]:
    """What index.json says."""
    return {
        "levels": {name: levels for name, (levels, _) in tensors().items()},
        "codec": PARAMS,
        "frames": {name: fields(frame) for name, frame in frames().items()},
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, (levels, q) in tensors().items():
        (FOLDER / f"{name}.bin").write_bytes(cabac.encode(q, levels))
    for name, frame in frames().items():
        (FOLDER / f"{name}.bin").write_bytes(pack(frame))
    np.savez_compressed(FOLDER / "levels.npz", **{name: q for name, (_, q) in tensors().items()})
    (FOLDER / "index.json").write_text(json.dumps(index(), indent=1) + "\n")


if __name__ == "__main__":
    main()
