"""The golden vectors, read as an independent decoder would: from the files alone."""

import json
from typing import Any

import numpy as np
import pytest

from common.codec import Lightweight, _kernel, cabac, pack, unpack
from tests.codec import vectors
from tests.codec.vectors import FOLDER

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


@pytest.mark.parametrize(("name", "fields"), INDEX["frames"].items())
def test_frames(name: str, fields: dict[str, Any]) -> None:
    data = (FOLDER / f"{name}.bin").read_bytes()
    frame = unpack(data)
    assert pack(frame) == data
    assert frame.bundle.hex() == fields["bundle"]
    assert [layer.kind for layer in frame.layers] == fields["layers"]
    assert all(getattr(frame, name) == fields[name] for name in ("codec", "quality", "width", "height", "keyframe"))


@pytest.mark.parametrize(
    ("name", "seed", "points"), [("frame", 77, [0, 3, 6, 9]), ("frame-table", 78, [0, 3.125, 7.5])]
)
def test_features(name: str, seed: int, points: list[float]) -> None:
    codec = Lightweight.from_params(INDEX["codec"])
    (features,) = codec.decode(unpack((FOLDER / f"{name}.bin").read_bytes()).layers[:1])
    q = vectors.skewed(features.size, len(points), seed).reshape(features.shape)
    assert np.array_equal(features, np.array(points, np.float32)[q])


def test_the_files_are_those_that_the_script_writes() -> None:
    assert vectors.index() == INDEX
    with np.load(FOLDER / "levels.npz", allow_pickle=False) as archive:
        assert set(archive) == set(vectors.tensors())
        for name, (_, q) in vectors.tensors().items():
            assert np.array_equal(archive[name], q)
    assert {path.stem for path in FOLDER.glob("*.bin")} == {*vectors.tensors(), *vectors.frames()}
