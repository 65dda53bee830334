"""The decoder printed in docs/bitstream.md decodes the golden vectors, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.codec.container import header_size
from common.codec.lightweight import HEADER, TABLE_HEADER
from tests.codec.vectors import FOLDER

TEXT = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text())
PRINTED: dict[str, Any] = {}
exec(re.findall(r"```python\n(.*?)```", TEXT, re.S)[0], PRINTED)


@pytest.mark.parametrize(("name", "levels"), INDEX["levels"].items())
def test_the_printed_decoder(name: str, levels: int) -> None:
    data = (FOLDER / f"{name}.bin").read_bytes()
    with np.load(FOLDER / "levels.npz", allow_pickle=False) as archive:
        q = archive[name]
    assert PRINTED["decode"](data, q.size, levels) == q.tolist()
    for damaged in (data[:-1], data[1:], data + b"\0", b"\xff" * 16):
        with pytest.raises(AssertionError):
            PRINTED["decode"](damaged, q.size, levels)


def test_the_stated_overhead() -> None:
    clipped, tabled = header_size(1) + HEADER.size, header_size(1) + TABLE_HEADER.size
    assert f"are thus {clipped} bytes with a clip and {tabled} bytes with a table" in TEXT.replace("\n", " ")
    assert f"*{clipped} and {tabled} bytes*" in TEXT
