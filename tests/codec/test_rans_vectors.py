"""The golden vectors of rANS and codec 2, read from the files alone, by every decoder: that of the document, too."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.codec import neighbours, rans
from tests.codec import rans_vectors
from tests.codec.rans_vectors import FOLDER, Arrays

TEXT = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
PRINTED: dict[str, Any] = {}
exec(next(code for code in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "class Stream" in code), PRINTED)


def read() -> dict[str, Arrays]:
    cases: dict[str, Arrays] = {}
    with np.load(FOLDER / "cases.npz", allow_pickle=False) as archive:
        for key in archive:
            name, part = key.split(".")
            cases.setdefault(name, {})[part] = archive[key]
    return cases


CASES = read()
STREAMS = [name for name in CASES if "symbols" in CASES[name]]
TENSORS = [name for name in CASES if "shapes" in CASES[name]]


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str) -> None:
    case, data = CASES[name], (FOLDER / f"{name}.bin").read_bytes()
    tables = rans.Tables(case["frequencies"])
    assert rans.encode(case["symbols"], case["index"], tables) == data
    for kind in (rans.Decoder, rans.FastDecoder):
        decoder = kind(data, tables)
        assert np.array_equal(decoder.take(case["index"]), case["symbols"])
        decoder.end()
    stream, frequencies = PRINTED["Stream"](data), case["frequencies"].tolist()
    assert [stream.symbol(frequencies[row]) for row in case["index"].tolist()] == case["symbols"].tolist()
    stream.end()


@pytest.mark.parametrize("name", TENSORS)
def test_levels(name: str) -> None:
    case, data = CASES[name], (FOLDER / f"{name}.bin").read_bytes()
    model, shapes, back = rans_vectors.model(case), case["shapes"].tolist(), np.empty_like(case["q"])
    assert model.encode(case["q"], shapes) == data
    assert model.decode(data, back, shapes)
    assert np.array_equal(back, case["q"])
    assert np.array_equal(neighbours.decode(model, data, shapes), case["q"])
    bundle = [case[part].tolist() for part in ("classes", "buckets", "frequencies")]
    assert PRINTED["decode_codec_2"](data, shapes, *bundle) == case["q"].tolist()
    for damaged in (data[:-2], data[2:], data + b"\0\0", data[:15], bytes(len(data))):
        with pytest.raises(AssertionError):
            PRINTED["decode_codec_2"](damaged, shapes, *bundle)


def test_raw_values_of_the_document() -> None:
    encoder = rans.Encoder(rans.Tables(np.full((1, 2), 8192, np.uint16)))
    for bits in range(1, 15):
        encoder.raw([(1 << bits) - 1, 0, 1], bits)
    stream = PRINTED["Stream"](encoder.finish())
    assert [[stream.raw(bits) for _ in range(3)] for bits in range(1, 15)] == [[2**b - 1, 0, 1] for b in range(1, 15)]
    stream.end()


def test_the_files_are_those_that_the_script_writes() -> None:
    assert {name: (FOLDER / f"{name}.bin").read_bytes() for name in CASES} == rans_vectors.expected()
    made = {**rans_vectors.streams(), **rans_vectors.tensors()}
    assert made.keys() == CASES.keys()
    for name, case in made.items():
        assert all(np.array_equal(array, CASES[name][part]) for part, array in case.items())
    assert {path.stem for path in FOLDER.glob("*.bin")} == CASES.keys()
