"""Pictures and detections as they travel: what goes in comes out, and nothing else is taken."""

import contextlib
import io
import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.codec import Layer, unpack
from common.errors import BitstreamError
from common.geometry import letterbox_geometry
from common.payload import DetectionList, PictureCodec
from common.payload.picture import content_size, place
from common.types import Detection
from tests.payload.vectors import FOLDER, FOUND, LABELS, SIZE, frames, scene

BOXES = DetectionList(LABELS, 100)
PICTURES = PictureCodec()


@st.composite
def found(draw: st.DrawFn) -> tuple[list[Detection], int, int]:
    width, height = draw(st.integers(1, 65535)), draw(st.integers(1, 65535))
    share = st.floats(0, 1)
    out = []
    for score in sorted(draw(st.lists(share, max_size=20)), reverse=True):
        x, y = sorted([draw(share), draw(share)]), sorted([draw(share), draw(share)])
        box = (x[0] * width, y[0] * height, x[1] * width, y[1] * height)
        out.append(Detection(draw(st.sampled_from(LABELS)), score, box))
    return out, width, height


@given(found())
def test_detections_come_back_as_exactly_as_is_said(given_: tuple[list[Detection], int, int]) -> None:
    sent, width, height = given_
    layers = BOXES.encode(sent, width, height)
    assert len(layers[0].payload) == 12 * len(sent)
    back = BOXES.decode(layers, width, height)
    for one, other in zip(sent, back, strict=True):
        assert one.label == other.label and abs(one.score - other.score) <= 0.5 / 65535 + 0.5e-4 + 1e-9
        for side, there, size in zip(one.box, other.box, (width, height, width, height), strict=True):
            assert abs(side - there) <= 0.5 * size / 65535 + 0.005 + 1e-9 and there <= size + 1e-9
    assert BOXES.decode(BOXES.encode(back, width, height), width, height) == back


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(ANY, st.tuples(ANY, ANY, ANY, ANY)), max_size=9))
def test_whatever_a_network_finds_is_taken_or_left_out(raw: list[tuple[float, tuple[float, ...]]]) -> None:
    best_first = sorted(raw, key=lambda one: -one[0] if math.isfinite(one[0]) else 0)
    sent = [Detection(LABELS[0], score, box) for score, box in best_first]  # type: ignore[arg-type]
    finite = [d for d in sent if all(map(math.isfinite, (d.score, *d.box)))]
    assert len(BOXES.decode(BOXES.encode(sent, *SIZE), *SIZE)) == len(finite)


def test_sides_in_the_wrong_order_are_put_right() -> None:
    (back,) = BOXES.decode(BOXES.encode([Detection(LABELS[0], 0.5, (40, 30, 10, 20))], *SIZE), *SIZE)
    assert back.box == pytest.approx((10, 20, 40, 30), abs=0.02)


@given(st.binary(max_size=200))
def test_any_bytes_are_detections_or_refused(data: bytes) -> None:
    try:
        back = BOXES.decode([Layer(0, data)], *SIZE)
    except BitstreamError:
        return
    assert 12 * len(back) == len(data) and all(0 <= d.score <= 1 for d in back)
    assert all(d.box[0] <= d.box[2] <= SIZE[0] and d.box[1] <= d.box[3] <= SIZE[1] for d in back)


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (320, 320), (64, 48), (1, 1), (3000, 2), (400, 100)])
def test_a_picture_comes_back_no_larger_than_the_network_sees_it(size: tuple[int, int]) -> None:
    box = letterbox_geometry(*size)
    width, height = content_size(box)
    assert width <= min(320, size[0]) and height <= min(320, size[1])
    smooth = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    back = PICTURES.decode(PICTURES.encode(smooth, 95), box)
    assert back.shape == smooth.shape and np.abs(back.astype(int) - smooth).mean() < 8
    whole = place(back, box, 320, 114)
    assert whole.shape == (320, 320, 3)
    if box.top:
        assert (whole[: box.top] == 114).all()


def test_better_is_larger() -> None:
    sizes = [len(PICTURES.encode(scene(), quality)[0].payload) for quality in (10, 50, 90)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_a_damaged_picture_is_refused_or_a_picture() -> None:
    box = letterbox_geometry(64, 48)
    (layer,) = PICTURES.encode(scene(), 80)
    rng = random.Random(5)
    for _ in range(300):
        damaged = bytearray(layer.payload)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(BitstreamError):
            assert PICTURES.decode([Layer(0, bytes(damaged))], box).shape == (48, 64, 3)
    for cut in range(0, len(layer.payload) - 1, 37):
        with pytest.raises(BitstreamError, match="a whole JPEG"):
            PICTURES.decode([Layer(0, layer.payload[:cut])], box)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded() -> None:
    layers = PICTURES.encode(scene(), 80)
    for size in ((64, 47), (48, 64), (640, 480)):
        with pytest.raises(BitstreamError, match="pixels, got 64x48"):
            PICTURES.decode(layers, letterbox_geometry(*size))


def test_a_progressive_picture_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "JPEG", progressive=True)
    with pytest.raises(BitstreamError, match="one scan"):
        PICTURES.decode([Layer(0, buffer.getvalue())], letterbox_geometry(64, 48))


@pytest.mark.parametrize("kinds", [[], [1], [0, 1]])
def test_there_is_one_base_layer(kinds: list[int]) -> None:
    layers = [Layer(kind, b"") for kind in kinds]
    for decode in (lambda: PICTURES.decode(layers, letterbox_geometry(64, 48)), lambda: BOXES.decode(layers, *SIZE)):
        with pytest.raises(BitstreamError, match="one base layer"):
            decode()


def test_the_golden_vectors() -> None:
    index = json.loads((FOLDER / "index.json").read_text())
    assert (tuple(index["labels"]), tuple(index["size"])) == (LABELS, SIZE)
    frame = unpack((FOLDER / "detections.bin").read_bytes())
    assert (frame.codec, frame.quality, frame.width, frame.height) == (4, 0, *SIZE)
    for one, said in zip(BOXES.decode(frame.layers, *SIZE), index["detections"], strict=True):
        assert (one.label, one.score) == (said["label"], said["score"])
        assert one.box == pytest.approx(said["box"], abs=0.02)
    for name in ("detections", "nothing-found"):
        assert frames()[name] == (FOLDER / f"{name}.bin").read_bytes()
    assert BOXES.decode(unpack(frames()["nothing-found"]).layers, *SIZE) == []
    frame = unpack((FOLDER / "picture.bin").read_bytes())
    assert (frame.codec, frame.quality) == (3, 90)
    assert np.abs(PICTURES.decode(frame.layers, letterbox_geometry(64, 48)).astype(int) - scene()).mean() < 4
    assert len(FOUND) == 3
