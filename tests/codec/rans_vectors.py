"""Golden vectors of sections 4 and 5 of docs/bitstream.md: the bytes of these symbols, today and ever after.

tests/vectors/codec/rans holds NAME.bin for each case, and cases.npz with what goes in: for a stream of symbols
NAME.index, NAME.symbols and NAME.frequencies, for coded levels of codec 2 NAME.shapes, NAME.q and the arrays of the
bundle. Integers only. To write them anew, after a change of format that also changes its version:

    python -m tests.codec.rans_vectors
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec import neighbours, rans
from tests.codec.vectors import FOLDER as PARENT
from tests.codec.vectors import noise, skewed

FOLDER = PARENT / "rans"
Arrays = dict[str, NDArray[Any]]


def rows(count: int, symbols: int, seed: int) -> NDArray[np.uint16]:
    """Frequencies of every kind, none of them 0."""
    weights = (noise(count * symbols, seed) >> 8).reshape(count, symbols).astype(np.int64) ** 2 + 1
    sizes = 1 + weights * (rans.TOTAL - symbols) // weights.sum(axis=1, keepdims=True)
    sizes[:, seed % symbols] += rans.TOTAL - sizes.sum(axis=1)
    return sizes.astype(np.uint16)


def streams() -> dict[str, Arrays]:
    """Name: index, symbols and frequencies."""
    certain = np.array([[16384, 0], [16383, 1]], np.uint16)
    cases = {"nothing": (0, certain, 1), "certain": (5000, certain[:1], 1), "rare": (1000, certain, 2)}
    cases |= {f"symbols-{n}": (1501, rows(19, n, n), n) for n in (2, 3, 4, 5, 8, 9, 16)}
    made = {}
    for name, (count, frequencies, levels) in cases.items():
        index = (noise(count, levels) >> 7) % len(frequencies)
        symbols = skewed(count, levels, levels) if levels > 1 else np.zeros(count, np.uint8)
        symbols = np.where(frequencies[index, symbols] > 0, symbols, 0).astype(np.uint8)
        made[name] = {"index": index, "symbols": symbols, "frequencies": frequencies}
    return made


def tensors() -> dict[str, Arrays]:
    """Name: shapes, q and the arrays of the bundle."""
    made = {}
    for levels, shapes in ((4, [(16, 6, 5)]), (3, [(2, 4, 9), (5, 1, 1), (1, 7, 1)]), (16, [(3, 5, 6), (4, 2, 3)])):
        channels = sum(shape[0] for shape in shapes)
        made[f"levels-{levels}"] = {
            "shapes": np.array(shapes),
            "q": skewed(sum(int(np.prod(shape)) for shape in shapes), levels, 50 + levels),
            "classes": np.arange(channels, dtype=np.uint8) % np.uint8(3),
            "buckets": (np.arange(levels) * 4 // max(levels, 4)).astype(np.uint8),
            "frequencies": rows(3 * 256, levels, 60 + levels),
        }
    return made


def model(case: Arrays) -> neighbours.Model:
    """What codes the levels of a case."""
    return neighbours.Model(case["buckets"], case["classes"], case["frequencies"])


def expected() -> dict[str, bytes]:
    """Name: bytes, by the reference."""
    coded = {}
    for name, case in streams().items():
        encoder = rans.Encoder(rans.Tables(case["frequencies"]))
        encoder.put(case["symbols"], case["index"])
        coded[name] = encoder.finish()
    for name, case in tensors().items():
        coded[name] = neighbours.encode(model(case), case["q"], case["shapes"].tolist())
    return coded


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, data in expected().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    cases = {**streams(), **tensors()}
    np.savez_compressed(
        FOLDER / "cases.npz",
        **{f"{name}.{part}": array for name, case in cases.items() for part, array in case.items()},
    )


if __name__ == "__main__":
    main()
