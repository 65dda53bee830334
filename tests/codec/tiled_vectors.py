"""Golden vectors of section 13 of docs/bitstream.md: the bytes of these tiles, today and ever after.

tests/vectors/codec/tiles holds NAME.bin, a payload, for each case, and cases.npz with NAME.fixed, the latent that comes
back, 0 where a tile is missing, NAME.z, what it came with, in 1/64, NAME.rows and NAME.columns of cells that see the
picture, and NAME.context if there is any. The layers are those of `latent_vectors`: a case is of the layer before its
dash. To write them anew, after a change of format:

    python -m tests.codec.tiled_vectors
"""

import numpy as np

from common.codec.arithmetic import REFERENCE
from common.codec.tiled import TiledCoder
from tests.codec.latent_vectors import Arrays, coder, draws, layers, nearest
from tests.codec.vectors import FOLDER as PARENT

FOLDER = PARENT / "tiles"

CASES: dict[str, tuple[int, tuple[int, int], tuple[int, ...] | None, int]] = {
    "one-all": (300, (4, 6), None, 300),
    "one-odd": (350, (5, 3), None, 300),
    "one-cell": (120, (1, 1), None, 300),
    "one-some": (260, (6, 6), (1, 5, 6), 700),
    "two-all": (260, (8, 4), None, 500),
    "two-odd": (430, (5, 9), None, 500),
    "two-last": (430, (8, 9), (5,), 500),
    "two-none": (430, (5, 9), (), 500),
    "two-wild": (300, (4, 4), None, 900_000),
    "three-all": (300, (4, 8), None, 300),
    "three-odd": (350, (5, 6), None, 300),
    "three-cell": (260, (1, 1), None, 300),
    "three-some": (430, (7, 9), (0, 4, 5), 500),
}
"""Name: quality, cells, which tiles are kept or all, how far values reach, in 1/16."""


def made(name: str, of: TiledCoder) -> tuple[bytes, Arrays]:
    """The payload of a case, by the reference, and what comes of it."""
    quality, (rows, columns), kept, reach = CASES[name]
    seed, grid, inner = 5000 + 50 * list(CASES).index(name), of.grid(rows, columns), of.coder
    whole = grid.down * of.side, grid.across * of.side
    y = draws((inner.channels, *whole), -reach, reach, seed).astype(np.float32) / 16
    q = draws((inner.hyper, grid.down, grid.across), -5, 5, seed + 1)
    z = q * inner.point(quality).z_step + inner.model.centre[:, None, None]
    case: Arrays = {"z": z.astype(np.int32), "rows": np.array(rows), "columns": np.array(columns)}
    if inner.context:
        case["context"] = draws((inner.context, *whole), -6000, 6000, seed + 2)
    inner.arithmetic = REFERENCE._replace(quantise=nearest)
    tiles = of.parse(of.encode(y, (z / 64).astype(np.float32), quality, grid, case.get("context")), grid)
    tiles = tiles if kept is None else tiles.only(kept)
    case["fixed"], _ = of.decode(tiles, grid, case.get("context"))
    return tiles.pack(), case


def expected() -> dict[str, tuple[bytes, Arrays]]:
    """Name: payload and case."""
    known = layers()
    return {name: made(name, TiledCoder(coder(known[name.partition("-")[0]]))) for name in CASES}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    arrays: Arrays = {}
    for name, (payload, case) in expected().items():
        (FOLDER / f"{name}.bin").write_bytes(payload)
        arrays |= {f"{name}.{part}": array for part, array in case.items()}
    np.savez_compressed(FOLDER / "cases.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
