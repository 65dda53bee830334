"""The golden vectors of tiles, read from the files alone, by every decoder: that of the document, too."""

import numpy as np
import pytest

from common.codec.arithmetic import KERNEL, REFERENCE
from common.codec.tiled import TiledCoder
from tests.codec import latent_vectors, tiled_vectors
from tests.codec.latent_vectors import UNIT, Arrays
from tests.codec.test_latent_vectors import PRINTED, READ, listed
from tests.codec.tiled_vectors import CASES, FOLDER


def read() -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    with np.load(FOLDER / "cases.npz", allow_pickle=False) as archive:
        for key in archive:
            name, _, part = key.partition(".")
            found.setdefault(name, {})[part] = archive[key]
    return found


TILED = read()


def data_of(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


def printed(name: str, data: bytes) -> tuple[np.ndarray, set[int]]:
    """What the document's decoder makes of it: the latent, and the tiles that are in it."""
    case, layer = TILED[name], READ[name.partition("-")[0]]
    rows, columns = sizes = int(case["rows"]), int(case["columns"])
    context = case["context"][:, :rows, :columns].tolist() if "context" in case else []  # of cells that see the picture
    tiles = PRINTED["decode_tiles"](data, listed(layer), UNIT, *sizes, context)
    grid, fixed = TiledCoder(latent_vectors.coder(layer)).grid(*sizes), np.zeros_like(case["fixed"])
    for number, tile in tiles.items():
        grid.put(np.array(tile, np.int32)[:, None], [number], fixed)
    return fixed, set(tiles)


@pytest.mark.parametrize("name", CASES)
def test_tiles(name: str) -> None:
    case, data = TILED[name], data_of(name)
    coder = TiledCoder(latent_vectors.coder(READ[name.partition("-")[0]]))
    grid, context = coder.grid(int(case["rows"]), int(case["columns"])), case.get("context")
    for arithmetic in (KERNEL, REFERENCE):
        coder.coder.arithmetic = arithmetic._replace(quantise=latent_vectors.nearest)
        tiles = coder.parse(data, grid)
        fixed, there = coder.decode(tiles, grid, context)
        assert np.array_equal(fixed, case["fixed"])
        assert set(np.flatnonzero(there)) == set(tiles.tiles)
        y, z = fixed.astype(np.float32) / 256, case["z"].astype(np.float32) / 64
        assert coder.parse(coder.encode(y, z, tiles.quality, grid, context), grid).only(tiles.tiles).pack() == data
    found, numbers = printed(name, data)
    assert np.array_equal(found, case["fixed"]) and numbers == set(tiles.tiles)


@pytest.mark.parametrize("name", ["one-odd", "two-odd", "three-odd"])
def test_the_printed_decoder_finds_damage(name: str) -> None:
    data, whole = data_of(name), printed(name, data_of(name))[1]
    for damaged in (data[:-1], data + b"\0", data[:2] + b"\x80" + data[2:], data[:2] + b"\0" * 300):
        with pytest.raises(AssertionError):
            printed(name, damaged)
    assert printed(name, data[:-1] + bytes([data[-1] ^ 1]))[1] == whole - {max(whole)}


def test_the_files_are_those_that_the_script_writes() -> None:
    made = tiled_vectors.expected()
    assert {path.stem for path in FOLDER.glob("*.bin")} == made.keys() == TILED.keys()
    for name, (payload, case) in made.items():
        assert data_of(name) == payload
        assert case.keys() == TILED[name].keys()
        assert all(np.array_equal(array, TILED[name][part]) for part, array in case.items())
