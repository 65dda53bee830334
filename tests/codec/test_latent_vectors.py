"""The golden vectors of codec 5, read from the files alone, by every decoder: that of the document, too."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.codec.arithmetic import KERNEL, REFERENCE
from common.codec.elements import Cells
from tests.codec import latent_vectors
from tests.codec.latent_vectors import FOLDER, UNIT, Arrays

TEXT = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
PRINTED: dict[str, Any] = {"math": math}
for code in re.findall(r"```python\n(.*?)```", TEXT, re.S)[1:]:
    exec(code, PRINTED)


def read() -> dict[str, Arrays]:
    """By name, of cases and layers."""
    found: dict[str, Arrays] = {}
    with np.load(FOLDER / "cases.npz", allow_pickle=False) as archive:
        for key in archive:
            name, _, part = key.partition(".")
            found.setdefault(name, {})[part] = archive[key]
    return found


READ = read()
NAMES = [name for name in READ if "-" in name]


def listed(layer: Arrays) -> dict[str, Any]:
    """The arrays of a layer as the printed program takes them."""
    a = {name: layer[name].tolist() for name in ("exponent", "levels", "offset", "z_step", "centre")}
    for name in ("y", "z"):
        a[name] = list(zip(layer[f"{name}.bits"].tolist(), layer[f"{name}.frequencies"].tolist(), strict=True))
    if "passes" in layer:
        a["passes"] = layer["passes"].tolist()
    nets = [part.removesuffix(".kinds") for part in layer if part.endswith(".kinds") and part != "context.kinds"]
    for name in nets:
        a[f"{name}_limit"] = int(layer[f"{name}.input_limit"])
        parts = [
            [layer[f"{name}.{i}.{part}"].tolist() for part in ("weight", "bias", "shift")]
            for i in range(9)
            if f"{name}.{i}.bias" in layer
        ]
        a[name] = [(*arrays, kind) for arrays, kind in zip(parts, layer[f"{name}.kinds"].tolist(), strict=True)]
    return a


@pytest.mark.parametrize("name", NAMES)
def test_latents(name: str) -> None:
    case, layer, data = READ[name], READ[name.partition("-")[0]], (FOLDER / f"{name}.bin").read_bytes()
    fixed, cells, context = case["fixed"], Cells(*case["cells"].tolist()), case.get("context")
    coder, (_, height, width) = latent_vectors.coder(layer), fixed.shape
    for arithmetic in (KERNEL, REFERENCE):
        coder.arithmetic = arithmetic._replace(quantise=latent_vectors.nearest)
        decoded = coder.decode(data, height, width, cells, context)
        assert np.array_equal(decoded.fixed, fixed)
        y, z = fixed.astype(np.float32) / 256, case["z"].astype(np.float32) / 64
        payload, back = coder.encode(y, z, decoded.quality, cells, context)
        assert payload == data
        assert np.array_equal(back, fixed)
    known = [] if context is None else context.tolist()
    assert PRINTED["decode_codec_5"](data, listed(layer), UNIT, height, width, cells, known) == fixed.tolist()


@pytest.mark.parametrize("name", ["one-all", "two-part", "three-part"])
def test_the_printed_decoder_refuses_damage(name: str) -> None:
    case, layer, data = READ[name], READ[name.partition("-")[0]], (FOLDER / f"{name}.bin").read_bytes()
    known = case["context"].tolist() if "context" in case else []
    for damaged in (data[:-2], data + b"\0\0", data[:15], data[:2] + bytes(len(data) - 2)):
        with pytest.raises(AssertionError):
            PRINTED["decode_codec_5"](
                damaged, listed(layer), UNIT, *case["fixed"].shape[1:], case["cells"].tolist(), known
            )


def test_the_cases_reach_what_is_rare() -> None:
    """Escapes of more than 14 digits, silent rows, low bits, more than one run, clamped values, all levels."""
    values = np.concatenate([READ[name]["fixed"].ravel() for name in NAMES])
    assert np.abs(values).max() > 8_000_000
    assert max(READ[name]["fixed"].size for name in NAMES) > 4096
    layer = READ["one"]
    assert (layer["y.frequencies"][:, 7] == 1 << 14).any()
    assert layer["y.bits"].max() == 9
    qualities = [int.from_bytes((FOLDER / f"{name}.bin").read_bytes()[:2], "big") for name in NAMES]
    assert {latent_vectors.coder(layer).point(quality).level for quality in qualities} == {0, 1, 2}


def test_the_files_are_those_that_the_script_writes() -> None:
    made, layers = latent_vectors.expected(), latent_vectors.layers()
    assert {path.stem for path in FOLDER.glob("*.bin")} == made.keys() == set(NAMES)
    for name, (payload, case) in made.items():
        assert (FOLDER / f"{name}.bin").read_bytes() == payload
        assert case.keys() == READ[name].keys()
        assert all(np.array_equal(array, READ[name][part]) for part, array in case.items())
    for name, arrays in layers.items():
        assert all(np.array_equal(array, READ[name][part]) for part, array in arrays.items())
