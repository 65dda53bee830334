"""The transform codec as a whole: there and back at any quality and window, bad bundles and bad layers named."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec import CODECS, Kind, Layer, Transform, basis, coefficients
from common.codec.coefficients import step_of
from common.codec.window import Window
from common.errors import BitstreamError
from tests.codec.transform_samples import Array, bundle, windows

SHAPES = [[9, 20, 17], [5, 8, 8]]
PARAMS, ARRAYS = bundle(SHAPES, block=4, turned=30)
CODEC = Transform.from_params(PARAMS, ARRAYS)


def frame(seed: int = 0, scale: float = 3.0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.laplace(size=shape)).astype(np.float32) for shape in SHAPES]


def test_the_registry_knows_it() -> None:
    assert CODECS["transform"] is Transform
    assert Transform.id == 1
    assert (CODEC.qualities, CODEC.default_quality) == (range(100, 901), 300)


@given(st.sampled_from([100, 300, 555, 900]), windows(), st.integers(0, 5))
@settings(max_examples=15)
def test_a_layer_is_what_the_references_make_of_the_features(quality: int, window: Window | None, seed: int) -> None:
    (layer,) = CODEC.encode(frame(seed), quality, window)
    plan, step = CODEC.plan(quality, window), np.float32(step_of(quality))
    coded = coefficients.decode(CODEC.model, layer.payload[2:], plan.planes)
    assert layer.payload[:2] == quality.to_bytes(2, "big")
    for tensor, part, values in zip(frame(seed), plan.parts, coded, strict=True):
        y = basis.analyse(tensor, part.basis.basis, part.grid, len(values)) / step
        near = np.abs(y - values) < 1.75 + 1e-3 * np.abs(y)  # a threshold is up to 1.2, an offset .5 from its size
        assert (near | (np.abs(y) > coefficients.TOP)).all()
    for features, part, values in zip(CODEC.decode([layer], window), plan.parts, coded, strict=True):
        expected = basis.synthesise(values * step, part.basis.basis, part.grid)
        assert np.allclose(features, expected, rtol=1e-4, atol=1e-3 * (1 + np.abs(expected).max()))


def test_finer_steps_cost_more_and_lose_less() -> None:
    codec = Transform.from_params(PARAMS | {"margin": 1024}, ARRAYS)  # every plane is coded
    qualities, features = range(100, 600, 50), frame()
    layers = [codec.encode(features, quality) for quality in qualities]
    sizes = [len(layer.payload) for (layer,) in layers]
    errors = [float(np.square(codec.decode(one)[0] - features[0]).mean()) for one in layers]
    assert sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.001 * errors[0]


def test_outside_the_window_is_a_blank_picture_and_costs_nothing() -> None:
    window = Window(0, 80, 320, 240, 320, 320)
    (part,), (all_,) = CODEC.encode(frame(), window=window), CODEC.encode(frame())
    features, _ = CODEC.decode([part], window)
    grid = CODEC.plan(300, window).parts[0].grid
    outside = np.ones(SHAPES[0][1:], bool)
    outside[grid.top : grid.top + grid.rows * 4, grid.left : grid.left + grid.columns * 4] = False
    assert outside.sum() > 100
    assert np.array_equal(features[:, outside], ARRAYS["0.blank"].astype(np.float32)[:, outside])
    assert len(part.payload) < 0.8 * len(all_.payload)


def test_features_that_are_not_numbers_are_coded() -> None:
    features = frame()
    features[0][:, ::3] = np.nan
    features[1][2] = np.inf
    decoded = CODEC.decode(CODEC.encode(features))
    assert all(np.isfinite(tensor).all() for tensor in decoded)


def test_strided_and_double_features_are_coded_as_what_they_hold() -> None:
    expected = CODEC.encode(frame())
    turned = [np.asfortranarray(tensor.astype(np.float64)) for tensor in frame()]
    assert CODEC.encode(turned) == expected  # type: ignore[arg-type]


def test_threads_share_a_codec() -> None:
    """Made anew, so that its packed bases are made while others wait for them."""
    codec, frames = Transform.from_params(PARAMS, ARRAYS), [frame(seed) for seed in range(12)]
    expected = [CODEC.encode(features) for features in frames]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(codec.encode, frames)) == expected
        decoded = list(pool.map(codec.decode, expected))
    for layers, features in zip(expected, decoded, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(CODEC.decode(layers), features, strict=True))


@pytest.mark.parametrize("block", [4, 8])
def test_bundles_without_rotation_and_with_few_ranks(block: int) -> None:
    params, arrays = bundle(SHAPES, block, turned=0)
    for t in range(len(SHAPES)):
        for name in ("turn", "unturn", "turned"):
            del arrays[f"{t}.{name}"]
        for name in ("frequency", "forward", "inverse", "scale"):
            arrays[f"{t}.{name}"] = arrays[f"{t}.{name}"][:7]
    codec = Transform.from_params(params, arrays)
    back = codec.decode(codec.encode(frame(), 700))
    assert [tensor.shape for tensor in back] == codec.shapes


def test_a_frame_of_which_nothing_is_worth_a_bit_is_the_mean_in_18_bytes() -> None:
    faint = {f"{t}.{name}": ARRAYS[f"{t}.{name}"] * 0 - 700 for t in range(2) for name in ("scale", "turned")}
    codec = Transform.from_params(PARAMS, ARRAYS | faint)
    (layer,) = codec.encode(frame())
    assert len(layer.payload) == 18
    for t, features in enumerate(codec.decode([layer])):
        assert np.allclose(features, ARRAYS[f"{t}.mean"][:, None, None], atol=1e-5)


# ---- Borders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [99, 901, -1, 1 << 20])
def test_other_qualities_and_shapes_are_refused(quality: int) -> None:
    with pytest.raises(ValueError, match=r"quality: expected 100\.\.900"):
        CODEC.encode(frame(), quality)
    with pytest.raises(ValueError, match="features: expected shapes"):
        CODEC.encode(frame()[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:1], "base layer: expected more than 2 bytes, got 1"),
        (lambda d: b"\x00\x63" + d[2:], r"quality: expected 100\.\.900, got 99"),
        (lambda d: b"\x3f\xff" + d[2:], r"quality: expected 100\.\.900, got 16383"),
        (lambda d: b"\xff\xff" + d[2:], "base layer: expected a frame that is coded alone"),
        (lambda d: b"\x01\x2d" + d[2:], "coefficients: expected the bytes that encode"),
        (lambda d: d[:-2], "coefficients: expected the bytes that encode"),
        (lambda d: d + b"\0\0", "coefficients: expected the bytes that encode"),
        (lambda d: d[:3], "coefficients: expected the bytes that encode"),
    ],
)
def test_layers_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    (layer,) = CODEC.encode(frame())
    with pytest.raises(BitstreamError, match=message):
        CODEC.decode([Layer(Kind.BASE, change(layer.payload))])


def test_other_layers_are_refused() -> None:
    (layer,) = CODEC.encode(frame())
    for layers in ([], [layer, layer], [Layer(Kind.ENHANCEMENT, layer.payload)]):
        with pytest.raises(BitstreamError, match="layers: expected one base layer"):
            CODEC.decode(layers)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shapes", [], "shapes: expected one tensor at least"),
        ("shapes", [[9, 20, 18], [5, 8, 8]], r"0\.blank: expected shape \[9, 20, 18\]"),
        ("block", 5, "block: expected one of"),
        ("margin", -1, "margin: expected 0"),
        ("margin", 2000, "margin: expected 0"),
        ("qualities", [0, 1024], "qualities: expected"),
        ("qualities", [300, 200], "qualities: expected"),
        ("qualities", [5], "not enough values"),
        ("default_quality", 901, "default_quality: expected one of"),
    ],
)
def test_parameters_that_do_not_fit_are_named(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transform.from_params(PARAMS | {name: value}, ARRAYS)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("0.mean", lambda a: a[1:], r"0\.mean: expected shape"),
        ("1.forward", lambda a: a * np.float32(np.inf), r"1\.forward: expected finite"),
        ("1.turn", lambda a: a[1:], r"1\.turn: expected shape"),
        ("0.scale", lambda a: a[::-1], r"0\.scale: expected planes in falling order"),
        ("0.scale", lambda a: a.astype(np.int32), r"0\.scale: expected int16, got int32"),
        ("0.frequency", lambda a: a.astype(float), r"0\.frequency: expected uint8, got float64"),
        ("1.blank", lambda a: a[:, :, :-1], r"1\.blank: expected shape \[5, 8, 8\]"),
        ("offset", lambda a: a[1:], r"offset: expected int8"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name: str, change: Any, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        Transform.from_params(PARAMS, ARRAYS | {name: change(ARRAYS[name])})


@pytest.mark.parametrize("name", ["0.mean", "1.inverse", "1.unturn", "thresholds", "expected"])
def test_arrays_that_are_missing_are_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        Transform.from_params(PARAMS, {key: array for key, array in ARRAYS.items() if key != name})
