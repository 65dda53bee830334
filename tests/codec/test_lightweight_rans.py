"""Codec 2: contexts and tables, the kernel against the reference, bad arrays and bad payloads named."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import CODECS, Kind, Layer, Lightweight, LightweightRans, _kernel, neighbours, rans
from common.codec.lightweight_rans import calibrate
from common.errors import BitstreamError
from tests.codec.samples import entropy

SHAPES = [[5, 12, 9], [3, 1, 7], [2, 8, 1]]
PARAMS: dict[str, Any] = {
    "shapes": SHAPES,
    "clips": {str(n): [-0.5, 3.0] for n in (2, 3, 4, 7, 8, 13, 16)},
    "tables": {"5": {"thresholds": [0.1, 0.3, 0.5, 2.0], "points": [0.0, 0.2, 0.4, 1.0, 2.5]}},
    "default_levels": 4,
}


def smooth(rng: np.random.Generator, channels: int, height: int, width: int) -> NDArray[np.float32]:
    """Features like their neighbours, in channels of different strength."""
    x = rng.standard_normal((channels, height + 3, width + 3))
    for axis in (1, 2):
        x = sum(np.roll(x, by, axis) for by in range(4))
    return (np.abs(x[:, 3:, 3:]) * np.arange(1, channels + 1)[:, None, None] / channels / 3).astype(np.float32)


def frame(seed: int) -> list[NDArray[np.float32]]:
    return [smooth(np.random.default_rng((seed, *shape)), *shape) for shape in SHAPES]


ARRAYS = calibrate(PARAMS, [frame(seed) for seed in range(100, 130)])
CODEC = LightweightRans.from_params(PARAMS, ARRAYS)
PLAIN = Lightweight.from_params(PARAMS)
COUNT = sum(PLAIN.sizes)
LEVELS = sorted(CODEC.models)


@pytest.fixture(autouse=True, params=[True, False], ids=["vector", "scalar"])
def vector(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with vector instructions, if this machine has them, and without."""
    before = _kernel.rans_vector(request.param)
    yield
    _kernel.rans_vector(before)


def test_the_registry_knows_it() -> None:
    assert CODECS["lightweight-rans"] is LightweightRans
    assert LightweightRans.id == 2


@pytest.mark.parametrize("levels", LEVELS)
def test_features_come_back_as_from_the_papers_codec(levels: int) -> None:
    layers = CODEC.encode(frame(1), levels)
    back = CODEC.decode(layers)
    expected = PLAIN.decode(PLAIN.encode(frame(1), levels))
    assert all(np.array_equal(x, y) for x, y in zip(back, expected, strict=True))
    assert [x.shape for x in back] == CODEC.shapes
    assert CODEC.encode(back, levels) == layers


@pytest.mark.parametrize("levels", LEVELS)
def test_the_kernel_is_the_reference(levels: int) -> None:
    model, rng = CODEC.models[levels], np.random.default_rng(levels)
    for q in (rng.integers(levels, size=COUNT).astype(np.uint8), np.full(COUNT, levels - 1, np.uint8)):
        data, back = model.encode(q, CODEC.shapes), np.empty(COUNT, np.uint8)
        assert neighbours.encode(model, q, CODEC.shapes) == data
        assert model.decode(data, back, CODEC.shapes)
        assert np.array_equal(back, q)
        assert np.array_equal(neighbours.decode(model, data, CODEC.shapes), q)


def test_a_context_is_the_buckets_of_four_neighbours() -> None:
    buckets = np.array([[[1, 2, 3], [0, 1, 2]]], np.uint8)
    left, above, right, before = 1, 4, 16, 64
    expected = [
        [0, 1 * left, 2 * left],
        [1 * above + 2 * right, 2 * above + 3 * right + 1 * before, 3 * above + 2 * before + 1 * left],
    ]
    assert neighbours.contexts(buckets).tolist() == [expected]


@given(st.integers(0, 2**32), st.sampled_from(LEVELS))
def test_damage_is_refused_or_another_frame_s_code(seed: int, levels: int) -> None:
    rng, model = np.random.default_rng(seed), CODEC.models[levels]
    (layer,) = CODEC.encode(frame(seed % 5), levels)
    data = bytearray(layer.payload[5:])
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    q = np.empty(COUNT, np.uint8)
    if model.decode(bytes(data), q, CODEC.shapes):
        assert model.encode(q, CODEC.shapes) == bytes(data)
    else:
        with pytest.raises(BitstreamError):
            neighbours.decode(model, bytes(data), CODEC.shapes)


@pytest.mark.parametrize("change", [lambda d: d[:-2], lambda d: d + b"\0\0", lambda d: d[:20], lambda d: d[:6]])
def test_cut_and_lengthened_layers_are_refused(change: Any) -> None:
    (layer,) = CODEC.encode(frame(1))
    with pytest.raises(BitstreamError, match=f"coded levels: expected the bytes that encode {COUNT} levels of 4"):
        CODEC.decode([Layer(Kind.BASE, change(layer.payload))])


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_calibration_pays(levels: int) -> None:
    """On frames that it has not seen: a quarter less than order-0, and as many as the tables promise."""
    params = {"shapes": [[8, 40, 40]], "clips": {str(levels): [0, 3]}, "default_levels": levels}
    frames = [[smooth(np.random.default_rng(seed), 8, 40, 40)] for seed in range(25)]
    codec = LightweightRans.from_params(params, calibrate(params, frames[:20]))
    for unseen in frames[20:]:
        q = codec.quantiser(levels).quantise(unseen[0]).ravel()
        (layer,) = codec.encode(unseen)
        bits = 8 * (len(layer.payload) - 5)
        assert bits < 0.75 * entropy(q) * q.size
        assert bits < 1.001 * codec.models[levels].bits(q, codec.shapes) + 8 * rans.OPENING


def test_unseen_contexts_can_code_every_level() -> None:
    arrays = calibrate(PARAMS, [[np.zeros(shape, np.float32) for shape in SHAPES]])
    codec = LightweightRans.from_params(PARAMS, arrays)
    back = codec.decode(codec.encode(frame(3), 16))
    expected = PLAIN.decode(PLAIN.encode(frame(3), 16))
    assert all(np.array_equal(x, y) for x, y in zip(back, expected, strict=True))


def test_buckets_keep_levels_in_order() -> None:
    for levels, model in CODEC.models.items():
        used = model.buckets[:levels]
        assert np.all(np.diff(used.astype(int)) >= 0)
        assert set(used.tolist()) == set(range(min(levels, 4)))


def changed(name: str, change: Any) -> dict[str, Any]:
    return {**ARRAYS, name: change(ARRAYS[name].copy())}


def emptied(frequencies: NDArray[np.uint16]) -> NDArray[np.uint16]:
    frequencies[7] = [16384, 0, 0, 0]
    return frequencies


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "buckets_2"),
        (changed("classes", lambda a: a[:-1]), "expected classes of 10 channels"),
        (changed("classes", lambda a: a + np.uint8(9)), "classes: expected uint8 below"),
        (changed("classes", lambda a: a.astype(np.int64)), "classes: expected uint8 below"),
        (changed("buckets_4", lambda a: a[:-1]), "buckets: expected 4 uint8 below 4"),
        (changed("buckets_4", lambda a: a + np.uint8(1)), "buckets: expected 4 uint8 below 4"),
        (changed("frequencies_4", lambda a: a + np.uint16(1)), "sum to 16384"),
        (changed("frequencies_4", lambda a: a[:-1]), "classes: expected uint8 below"),
        (changed("frequencies_4", emptied), "every level to have one in every context"),
        ({**ARRAYS, "frequencies_4": ARRAYS["frequencies_3"], "buckets_4": ARRAYS["buckets_3"]}, "tables of"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises((KeyError, ValueError), match=message):
        LightweightRans.from_params(PARAMS, arrays)


def test_more_than_sixteen_levels_and_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2\.\.16 levels"):
        calibrate({"shapes": SHAPES, "clips": {"17": [0, 1]}, "default_levels": 17}, [frame(0)])
    with pytest.raises(ValueError, match="expected frames"):
        calibrate(PARAMS, [])
    with pytest.raises(ValueError, match=r"shapes: expected \[C, H, W\] each"):
        LightweightRans.from_params({"shapes": [[10]], "clips": {"4": [0, 1]}}, ARRAYS)


def test_the_kernel_checks_what_it_is_given() -> None:
    model = CODEC.models[4]
    q, shapes = np.zeros(COUNT, np.uint8), np.array(SHAPES, np.int32)
    good = [q, shapes, model.classes, model.buckets, model.tables.rows, 4]

    def refused(at: int, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            _kernel.neighbours_encode(*good[:at], value, *good[at + 1 :])
        with pytest.raises(ValueError, match=message):
            _kernel.neighbours_decode(bytes(16), *good[:at], value, *good[at + 1 :])

    refused(0, q[1:], "shapes: expected those of q")
    refused(1, shapes * 2, "shapes: expected those of q")
    refused(1, shapes * -1, "shapes: expected those of q")
    refused(1, shapes[:0], "shapes: expected those of q")
    refused(2, model.classes[1:], "a class for each channel")
    refused(2, model.classes + np.uint8(1), "256 tables for each")
    refused(3, model.buckets + np.uint8(4), "buckets: sixteen below 4")
    refused(3, model.buckets[1:], "buckets: sixteen below 4")
    refused(4, model.tables.rows[1:], "rows: expected")
    refused(5, 5, "rows: expected")
    with pytest.raises(ValueError, match="levels below 4, got 4"):
        _kernel.neighbours_encode(q + np.uint8(4), *good[1:])
    three = CODEC.models[3]
    with pytest.raises(ValueError, match="no frequency"):
        _kernel.neighbours_encode(q + np.uint8(3), shapes, three.classes, three.buckets, three.tables.rows, 4)
