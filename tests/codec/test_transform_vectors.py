"""The golden vectors of codec 1, read from the files alone, by every decoder: that of the document, too."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.codec import coefficients
from tests.codec import transform_vectors
from tests.codec.transform_vectors import FOLDER, Arrays

TEXT = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
PRINTED: dict[str, Any] = {}
for code in re.findall(r"```python\n(.*?)```", TEXT, re.S)[1:]:
    exec(code, PRINTED)


def read() -> tuple[Arrays, dict[str, Arrays]]:
    bundle: Arrays = {}
    cases: dict[str, Arrays] = {}
    with np.load(FOLDER / "cases.npz", allow_pickle=False) as archive:
        for key in archive:
            name, _, part = key.partition(".")
            (cases.setdefault(name, {}) if part else bundle)[part or name] = archive[key]
    return bundle, cases


BUNDLE, CASES = read()
MODEL = transform_vectors.model(BUNDLE)


@pytest.mark.parametrize("name", CASES)
def test_coefficients(name: str) -> None:
    case, data = CASES[name], (FOLDER / f"{name}.bin").read_bytes()
    values, known, tensors = transform_vectors.split(case)
    flat = case["q"].astype(np.float32)
    assert coefficients.encode(MODEL, values, known) == data
    assert MODEL.encode(flat, coefficients.flat(known)) == data
    back = np.empty_like(flat)
    MODEL.decode(data, back, coefficients.flat(known))
    assert np.array_equal(np.sign(back), np.sign(flat))
    assert np.abs(back - flat).max(initial=0) < 0.5
    decoded = coefficients.decode(MODEL, data, known)
    assert np.array_equal(np.concatenate([part.ravel() for part in decoded]), back)
    arrays = [BUNDLE[part].tolist() for part in ("expected", "frequencies", "offset")]
    printed = PRINTED["decode_codec_1"](data, int(case["quality"]), tensors, *arrays)
    assert [value for planes in printed for plane in planes for value in plane] == (128 * back).tolist()
    for damaged in (data[:-2], data + b"\0\0", data[:15], bytes(len(data))):
        with pytest.raises(AssertionError):
            PRINTED["decode_codec_1"](damaged, int(case["quality"]), tensors, *arrays)


def test_the_cases_reach_what_is_rare() -> None:
    """Escapes, shifts, the largest size, every class."""
    known = [planes for case in CASES.values() for planes in transform_vectors.split(case)[1]]
    assert {int(number) for planes in known for number in planes.classes} == set(range(3, 17))
    assert max(int(shift) for planes in known for shift in planes.shifts) >= 8
    assert max(int(np.abs(case["q"]).max(initial=0)) for case in CASES.values()) > 20000


def test_the_files_are_those_that_the_script_writes() -> None:
    assert {name: (FOLDER / f"{name}.bin").read_bytes() for name in CASES} == transform_vectors.expected()
    made = transform_vectors.cases()
    assert made.keys() == CASES.keys()
    for name, case in made.items():
        assert all(np.array_equal(array, CASES[name][part]) for part, array in case.items())
    assert all(np.array_equal(array, BUNDLE[name]) for name, array in transform_vectors.bundle().items())
    assert {path.stem for path in FOLDER.glob("*.bin")} == CASES.keys()
