"""The codec whole: features in, one layer, features out; bad parameters and bad payloads named."""

import tomllib
from struct import pack as struct_pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec import CODECS, Kind, Layer, Lightweight, _kernel
from common.codec.quantise import dequantise, quantise, quantise_by
from common.errors import BitstreamError
from tests.codec.samples import RESNET50, features

BUNDLE = """
name = "lightweight"
shapes = [[4, 10, 10]]
mean = 1.1235656
variance = 4.9280124
slope = 0.1
levels = [2, 3, 4, 5, 6, 8, 12, 16, 256]
default_levels = 4

[tables.7]
thresholds = [-0.5, 0.75, 0.75, 2.5, 5.0, 7.25]
points = [-1.25, 0.0, 0.75, 1.5, 3.5, 6.0, 9.0]
"""
CODEC = Lightweight.from_params(tomllib.loads(BUNDLE))
X = features(RESNET50, 400).reshape(4, 10, 10)


def payload(levels: int = 4) -> bytes:
    return CODEC.encode([X], levels)[0].payload


def test_the_registry_knows_it_by_name() -> None:
    assert CODECS["lightweight"] is Lightweight
    assert all(codec.name == name for name, codec in CODECS.items())
    assert len({codec.id for codec in CODECS.values()}) == len(CODECS)


@pytest.mark.parametrize("levels", sorted(CODEC.clips))
def test_decode_is_what_the_reference_makes_of_it(levels: int) -> None:
    layers = CODEC.encode([X], levels)
    clip = CODEC.clips[levels]
    expected = dequantise(quantise(X, *clip, levels), *clip, levels)
    (back,) = CODEC.decode(layers)
    assert [layer.kind for layer in layers] == [Kind.BASE]
    assert back.dtype == np.float32
    assert np.array_equal(back, expected)
    assert np.array_equal(CODEC.decode(CODEC.encode([back], levels))[0], back)


def test_levels_by_table_carry_nothing_of_it() -> None:
    (layer,) = CODEC.encode([X], 7)
    table = CODEC.tables[7]
    q = quantise_by(X, table.thresholds)
    assert CODEC.qualities == (2, 3, 4, 5, 6, 7, 8, 12, 16, 256)
    assert layer.payload == b"\0\6" + _kernel.encode(q, 7)
    assert np.array_equal(CODEC.decode([layer])[0], table.points[q])


def test_a_table_takes_the_place_of_a_clip() -> None:
    """And what was coded with the clip before stays decodable."""
    table = {"thresholds": [1.0], "points": [0.5, 8.0]}
    clips = {"shapes": [[3]], "clips": {"2": [0, 4]}, "default_levels": 2}
    before, after = (Lightweight.from_params(p) for p in (clips, clips | {"tables": {"2": table}}))
    x = np.array([0, 1, 9], np.float32)
    assert after.decode(after.encode([x]))[0].tolist() == [0.5, 8, 8]
    assert after.decode(before.encode([x]))[0].tolist() == [0, 0, 4]
    assert Lightweight.from_params({"shapes": [[3]], "tables": {"2": table}, "default_levels": 2}).clips == {}


@pytest.mark.parametrize(
    "table",
    [
        {"thresholds": [1, 2], "points": [0, 1]},
        {"thresholds": [1], "points": [0, 1, 2]},
        {"thresholds": [[1]], "points": [0, 1]},
        {"thresholds": [float("nan")], "points": [0, 1]},
        {"thresholds": [1], "points": [0, float("inf")]},
        {"thresholds": [1], "points": [1, 0]},
    ],
    ids=str,
)
def test_what_is_no_table_is_refused(table: dict) -> None:
    with pytest.raises(ValueError, match="tables: expected"):
        Lightweight.from_params({"shapes": [[2]], "tables": {"2": table}, "default_levels": 2})
    falling = {"thresholds": [2, 1], "points": [0, 1, 2]}
    with pytest.raises(ValueError, match="never fall for N = 3"):
        Lightweight.from_params({"shapes": [[2]], "tables": {"3": falling}, "default_levels": 3})


def test_the_default_quality_is_the_bundle_s() -> None:
    assert CODEC.encode([X]) == CODEC.encode([X], 4)


def test_clips_come_from_the_model_to_the_precision_of_the_stream() -> None:
    assert CODEC.clips[4] == pytest.approx((0, 9.0361), abs=9.0361 * 2**-11)
    assert CODEC.clips[2] == pytest.approx((0, 5.1836), abs=5.1836 * 2**-11)


def test_clips_can_be_given() -> None:
    codec = Lightweight.from_params({"shapes": [[2]], "clips": {"4": [-0.5, 9.25], "2": [0, 5]}, "default_levels": 2})
    assert codec.clips == {4: (-0.5, 9.25), 2: (0.0, 5.0)}
    assert codec.decode(codec.encode([np.array([-7, 99], np.float32)], 4))[0].tolist() == [-0.5, 9.25]


def test_strided_and_double_features_code_like_plain_ones() -> None:
    wide = np.zeros((4, 10, 20), np.float32)
    wide[:, :, ::2] = X
    assert CODEC.encode([wide[:, :, ::2]]) == CODEC.encode([X])
    assert CODEC.encode([X.astype(np.float64)]) == CODEC.encode([X])


def test_nan_and_infinity_are_defined() -> None:
    x = X.copy()
    x[0, 0, :3] = np.nan, np.inf, -np.inf
    (back,) = CODEC.decode(CODEC.encode([x], 4))
    assert back[0, 0, :3].tolist() == [0.0, CODEC.clips[4][1], 0.0]


@given(st.binary(max_size=40))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        CODEC.decode([Layer(Kind.BASE, data)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "base layer: expected more than 5 bytes, got 0"),
        (payload()[:5], "base layer: expected more than 5 bytes, got 5"),
        (b"\0\6", "base layer: expected more than 2 bytes, got 2"),
        (b"\0\3" + payload(7)[2:], r"levels by table: expected one of \[7\], got 4"),
        (b"\0\0" + payload(7)[2:], r"levels by table: expected one of \[7\], got 1"),
        (payload(7) + b"\0", "coded levels: expected the bytes that encode 400 levels of 7"),
        (b"\6" + payload()[1:], r"levels: expected one of \[2, 3, .*\], got 7"),
        (struct_pack(">Bee", 3, np.nan, 9) + payload()[5:], "c_min: expected a finite number, got nan"),
        (struct_pack(">Bee", 3, 0, np.inf) + payload()[5:], "c_max: expected a finite number, got inf"),
        (struct_pack(">Bee", 3, 9, 9) + payload()[5:], "c_max: expected more than 9.0, got 9.0"),
        (payload()[:-1], "coded levels: expected the bytes that encode 400 levels of 4"),
        (payload() + b"\0", "coded levels: expected the bytes that encode 400 levels of 4"),
    ],
)
def test_bad_payloads_are_named(data: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        CODEC.decode([Layer(Kind.BASE, data)])


@pytest.mark.parametrize("kinds", [[], [1], [0, 1]], ids=str)
def test_it_has_one_layer(kinds: list[int]) -> None:
    with pytest.raises(BitstreamError, match="layers: expected one base layer"):
        CODEC.decode([Layer(kind, payload()) for kind in kinds])


def test_minus_zero_reads_as_zero() -> None:
    for ends in ((-0.0, 4.0), (-4.0, -0.0)):
        coded = _kernel.encode(np.full(400, 0 if ends[0] == 0 else 3, np.uint8), 4)
        (back,) = CODEC.decode([Layer(Kind.BASE, struct_pack(">Bee", 3, *ends) + coded)])
        assert not np.signbit(back).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CODEC.encode([X[:3]]), r"features: expected shapes \[\(4, 10, 10\)\], got \[\(3, 10, 10\)\]"),
        (lambda: CODEC.encode([X], 9), r"quality: expected one of \[2, 3, .*\] levels, got 9"),
        (lambda: Lightweight([(0, 1)], {4: (0, 1)}), "shapes: expected positive sizes"),
        (lambda: Lightweight([], {4: (0, 1)}), "shapes: expected positive sizes"),
        (lambda: Lightweight([(1,)], {8: (0, 1)}), r"default_levels: expected one of \[8\], got 4"),
        (lambda: Lightweight([(1,)], {1: (0, 1)}, 1), r"levels: expected 2\.\.256, got 1"),
        (lambda: Lightweight([(1,)], {4: (1, 1)}), "clip: expected c_min < c_max"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
