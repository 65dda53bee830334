"""The golden vectors, read as an independent decoder would: from the files alone."""

import json
from typing import Any

import numpy as np
import pytest

from common.codec import _kernel, cabac, pack, unpack
from tests.codec import vectors
from tests.codec.vectors import CODEC, FOLDER

INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text())


@pytest.mark.parametrize(("name", "levels"), INDEX["levels"].items())
def test_coded_levels(name: str, levels: int) -> None:
    data = (FOLDER / f"{name}.bin").read_bytes()
    with np.load(FOLDER / "levels.npz", allow_pickle=False) as archive:
        q = archive[name]
    assert cabac.encode(q, levels) == data
    assert _kernel.encode(q, levels) == data
    assert np.array_equal(cabac.decode(data, q.size, levels), q)
    back = np.empty_like(q)
    assert _kernel.decode(data, back, levels)
    assert np.array_equal(back, q)


def test_frame() -> None:
    data = (FOLDER / "frame.bin").read_bytes()
    frame = unpack(data)
    assert pack(frame) == data
    fields = INDEX["frame"]
    assert frame.bundle.hex() == fields["bundle"]
    assert [layer.kind for layer in frame.layers] == fields["layers"]
    assert all(getattr(frame, name) == fields[name] for name in ("codec", "quality", "width", "height", "keyframe"))
    (features,) = CODEC.decode(frame.layers[:1])
    assert np.array_equal(features / 3, vectors.skewed(CODEC.sizes[0], 4, 77).reshape(CODEC.shapes[0]))


def test_the_files_are_those_that_the_script_writes() -> None:
    assert vectors.index() == INDEX
    with np.load(FOLDER / "levels.npz", allow_pickle=False) as archive:
        assert set(archive) == set(vectors.tensors())
        for name, (_, q) in vectors.tensors().items():
            assert np.array_equal(archive[name], q)
    assert {path.stem for path in FOLDER.glob("*.bin")} == {*vectors.tensors(), "frame"}
