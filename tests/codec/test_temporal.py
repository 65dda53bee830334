"""Frames coded after others: the kernel equal to the reference, integers that never drift, hostile bytes, names."""

import re
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec import (
    Kind,
    Layer,
    State,
    TemporalCodec,
    Transform,
    _kernel,
    coefficients,
    latent_temporal,
    temporal,
)
from common.codec.coefficients import Planes
from common.codec.motion import vectors_of
from common.codec.temporal import CLASSES, LIMIT, POINT, STILL, Moved, Told
from common.codec.transform import AFTER, KEPT
from common.codec.window import Window
from common.errors import BitstreamError, MissingReferenceError
from tests.codec.transform_samples import Array, bundle

MODEL = temporal.changes()
SHAPES = [[9, 20, 17], [5, 8, 8]]
PARAMS, ARRAYS = bundle(SHAPES, block=4, turned=30)
CODEC = Transform.from_params(PARAMS, ARRAYS)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Array], list[Told], list[Array]]:
    """Coefficients of some tensors, references from what equals them to what has nothing to do with them, motion."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.3, 3.0, 60.0, 5e4]))
    alike = draw(st.sampled_from([0.0, 0.5, 0.98]))
    values, told, motion = [], [], []
    for count, blocks in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=3)):
        shifts = rng.integers(0, 3, count).astype(np.uint8) * rng.integers(0, 2, count).astype(np.uint8)
        planes = Planes(blocks, rng.integers(0, CLASSES, count).astype(np.uint8), shifts)
        before = rng.laplace(scale=spread, size=(count, blocks))
        y = alike * before + (1 - alike) * rng.laplace(scale=spread, size=before.shape)
        y[rng.random(y.shape) < 0.02] = rng.choice([np.nan, np.inf, -np.inf])
        values.append(y.astype(np.float32))
        levels = np.clip(np.rint(before * POINT), -LIMIT, LIMIT).astype(np.int32)
        told.append(Told(planes, rng.integers(0, 16, count).astype(np.uint8), levels))
        apart = np.rint(rng.laplace(scale=rng.choice([0.01, 0.5, 9.0]), size=(2, blocks)))
        motion.append(apart.astype(np.int32))
    return values, told, motion


def joined(parts: list[Any]) -> Any:
    return np.concatenate([np.asarray(part).ravel() for part in parts])


def flat(told: list[Told]) -> tuple[coefficients.Flat, Array, Array]:
    norms = joined([known.norms for known in told]).astype(np.uint8)
    return coefficients.flat([known.planes for known in told]), norms, joined([known.before for known in told])


def moved(motion: list[Array]) -> Moved:
    return Moved(joined(motion), np.array([MODEL.row(apart) for apart in motion], np.uint8))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_kernel_is_the_reference(case: tuple[list[Array], list[Told], list[Array]]) -> None:
    values, told, motion = case
    data, levels = MODEL.encode_after(joined(values).astype(np.float32), *flat(told), moved(motion))
    expected, found = temporal.encode(MODEL, values, told, motion)
    assert data == expected
    for one, other in zip(MODEL.moves(data, flat(told)[0]), moved(motion), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(levels, joined(found))
    y = np.full(levels.size, np.nan, np.float32)
    assert np.array_equal(MODEL.decode_after(data, y, *flat(told)), levels)
    assert np.array_equal(y * POINT, levels)
    read, vectors = temporal.decode(MODEL, data, told)
    assert np.array_equal(joined(read), levels) and np.array_equal(joined(vectors), joined(motion))


@given(cases(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_damage_is_refused_or_another_frame_s_code(
    case: tuple[list[Array], list[Told], list[Array]], seed: int
) -> None:
    values, told, motion = case
    rng = np.random.default_rng(seed)
    data = bytearray(MODEL.encode_after(joined(values).astype(np.float32), *flat(told), moved(motion))[0])
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    y = np.empty(sum(part.size for part in values), np.float32)
    try:
        levels = MODEL.decode_after(bytes(data), y, *flat(told))
    except BitstreamError:
        with pytest.raises(BitstreamError):
            temporal.decode(MODEL, bytes(data), told)
    else:
        assert np.array_equal(levels, joined(temporal.decode(MODEL, bytes(data), told)[0]))
        assert np.abs(levels).max(initial=0) <= LIMIT


@given(st.integers(-LIMIT, LIMIT), st.integers(0, 1023), st.integers(0, 1023))
@settings(deadline=None)
def test_levels_at_another_quality_are_the_nearest(level: int, quality: int, wanted: int) -> None:
    (found,) = temporal.requantised(np.array([level], np.int32), quality, wanted).tolist()
    exact = level * 2.0 ** ((wanted - quality) / 64)
    assert abs(found - np.clip(exact, -LIMIT, LIMIT)) <= 0.5 + abs(exact) * 2.0**-15


def test_factors_are_far_from_the_middle_between_integers() -> None:
    """So any machine's power function gives them."""
    exact = 2.0 ** (15 + np.arange(64) / 64)
    assert tuple(np.rint(exact).astype(int)) == temporal.FACTORS
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-3


def test_the_kernel_checks_what_it_is_given() -> None:
    known = coefficients.flat([Planes(4, np.zeros(3, np.uint8), np.zeros(3, np.uint8))])
    y, norms, before = np.zeros(12, np.float32), np.zeros(3, np.uint8), np.zeros(12, np.int32)
    good: list[Any] = [y, *known, MODEL.expected, MODEL.offset, norms, before, before.copy()]
    good += [np.zeros(8, np.int32), np.array([STILL], np.uint8), MODEL.parts, MODEL.limits]
    assert _kernel.temporal_encode(*good)
    for at, value, message in (
        (0, y[1:].copy(), "sizes: expected those of y"),
        (2, known.classes + np.uint8(25), "classes below 25"),
        (4, MODEL.expected[1:].copy(), "expected: expected 50 bytes"),
        (5, MODEL.offset[1:].copy(), "offsets: expected"),
        (6, norms + np.uint8(16), r"norms: expected 0\.\.15"),
        (7, before + np.int32(LIMIT + 1), "reference: expected levels"),
        (8, before[1:].copy(), "levels: expected"),
        (9, np.zeros(7, np.int32), "differences: expected 32 bytes"),
        (9, np.full(8, 1 << 15, np.int32), "motion: expected rows below 250 and differences up to 32767"),
        (10, np.array([250], np.uint8), "motion: expected rows below 250"),
        (11, MODEL.parts[1:].copy(), "parts: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            _kernel.temporal_encode(*good[:at], value, *good[at + 1 :])


def test_the_decoder_that_is_printed_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bitstream.md").read_text()
    printed: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), printed)
    rng, quality = np.random.default_rng(3), 300
    scales = np.sort(rng.integers(-400, 500, 24))[::-1].astype(np.int16)
    *known, norms = temporal.classes(scales, quality)
    before = rng.integers(-3000, 3000, (24, 12)).astype(np.int32)
    y = (before / POINT + rng.laplace(size=before.shape)).astype(np.float32)
    planes = coefficients.flat([Planes(12, *known)])
    apart = np.zeros((2, 12), np.int32)
    apart[:, 3:6] = (4, 0, -3), (-20, 1, 0)
    data, levels = MODEL.encode_after(y.ravel(), planes, norms, before.ravel(), moved([apart]))
    tables = MODEL.expected.tolist(), MODEL.frequencies.tolist(), MODEL.offset.tolist()
    said: list[Any] = []

    def tensors(vectors: list[Any]) -> list[Any]:
        said.append(vectors)
        return [(scales.tolist(), before.tolist())]

    assert np.array_equal(np.ravel(printed["decode_after"](data, quality, [(12, 4)], tensors, *tables)), levels)
    assert np.array_equal(said[0][0], vectors_of(apart, 4))
    for damaged in (data[:-2], data + b"\0\0"):
        with pytest.raises(AssertionError):
            printed["decode_after"](damaged, quality, [(12, 4)], tensors, *tables)


# ---- The codec ------------------------------------------------------------------------------------------------------


def frames(count: int, motion: float = 0.1, seed: int = 0) -> list[list[Array]]:
    """Features of a scene that changes a little from frame to frame."""
    rng = np.random.default_rng(seed)
    scene = [3 * rng.laplace(size=shape) for shape in SHAPES]
    noisy = lambda: [(part + motion * rng.laplace(size=part.shape)).astype(np.float32) for part in scene]  # noqa: E731
    return [noisy() for _ in range(count)]


def test_the_transform_codec_is_one_that_codes_after() -> None:
    assert isinstance(CODEC, TemporalCodec)


@pytest.mark.parametrize("window", [None, Window(0, 80, 320, 240, 320, 320)])
def test_what_stays_is_not_coded_again(window: Window | None) -> None:
    first, second = frames(2)
    alone = CODEC.encode(second, 300, window)
    before = CODEC.encode_after(first, 300, window, None)
    after = CODEC.encode_after(second, 300, window, before.state)
    assert before.alone and not after.alone
    assert len(after.layers[0].payload) < 0.4 * len(alone[0].payload)
    features, state = CODEC.decode_after(after.layers, window, {before.state.name: before.state}.get)
    assert state is not None and state.name == after.state.name
    assert np.array_equal(state.levels, after.state.levels)
    for found, expected in zip(features, CODEC.decode(alone, window), strict=True):
        assert np.abs(found - expected).max() < 8 * coefficients.step_of(300)


def test_nothing_drifts_over_frames_of_changing_quality() -> None:
    rng = np.random.default_rng(5)
    sender: State | None = None
    held: dict[bytes, State] = {}
    scene = frames(8)
    for i in range(200):
        coded = CODEC.encode_after(scene[i % 8], int(rng.integers(200, 500)), None, sender)
        _, state = CODEC.decode_after(coded.layers, None, held.get)
        assert state is not None and np.array_equal(state.levels, coded.state.levels)
        held, sender = {state.name: state}, coded.state


def test_a_frame_that_has_fewer_bytes_alone_is_coded_alone() -> None:
    other, wanted = frames(1, seed=1)[0], [np.zeros(shape, np.float32) for shape in SHAPES]
    before = CODEC.encode_after(other, 700, None, None).state
    coded = CODEC.encode_after(wanted, 300, None, before)
    assert coded.alone
    assert len(coded.layers[0].payload) == len(CODEC.encode(wanted, 300)[0].payload)


def test_a_reference_of_another_window_is_not_used() -> None:
    before = CODEC.encode_after(frames(1)[0], 300, Window(0, 80, 320, 240, 320, 320), None).state
    assert CODEC.encode_after(frames(1)[0], 300, None, before).alone


def test_a_frame_that_is_not_kept_leaves_nothing_and_its_bytes_are_the_plain_ones() -> None:
    (frame,) = frames(1)
    coded = CODEC.encode_after(frame, 300, None, None, keep=False)
    assert coded.layers == CODEC.encode(frame, 300)
    assert CODEC.decode_after(coded.layers, None, {}.get)[1] is None


def test_another_format_has_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    state, of_tables = CODEC.encode_after(frames(1)[0], 300, None, None).state, temporal.tables_name()
    both = temporal.TABLES.read_bytes() + latent_temporal.TABLES.read_bytes()
    assert of_tables == blake2b(b"\2" + both, digest_size=4).digest(), "as docs/bitstream.md says"
    monkeypatch.setattr(temporal, "FORMAT", temporal.FORMAT + 1)
    monkeypatch.setattr(temporal, "tables_name", cache(temporal.tables_name.__wrapped__))
    assert temporal.tables_name() != of_tables and len(temporal.tables_name()) == 4
    assert State.of(300, None, state.levels).name != state.name


def test_a_missing_or_damaged_reference_is_said() -> None:
    first, second = frames(2)
    before = CODEC.encode_after(first, 300, None, None).state
    layers = CODEC.encode_after(second, 300, None, before).layers
    with pytest.raises(MissingReferenceError, match=f"coded after {before.name.hex()}, which is not held here"):
        CODEC.decode_after(layers, None, {}.get)
    levels = before.levels.copy()
    levels[7] += 1
    damaged = State(before.quality, before.window, levels, before.name)
    with pytest.raises(MissingReferenceError, match="which is damaged here"):
        CODEC.decode_after(layers, None, {before.name: damaged}.get)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:8], "base layer: expected more than 8 bytes, got 8"),
        (lambda d: (99 | AFTER).to_bytes(2, "big") + d[2:], r"quality: expected 100\.\.900, got 99"),
        (lambda d: d[:-2], "coefficients: expected the bytes that encode"),
        (lambda d: d + b"\0\0", "coefficients: expected the bytes that encode"),
        (lambda d: d[:10], "vectors: expected those of"),
    ],
)
def test_layers_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    first, second = frames(2)
    before = CODEC.encode_after(first, 300, None, None).state
    payload = CODEC.encode_after(second, 300, None, before).layers[0].payload
    with pytest.raises(BitstreamError, match=message):
        CODEC.decode_after([Layer(Kind.BASE, change(payload))], None, {before.name: before}.get)
    with pytest.raises(BitstreamError, match="expected a frame that is coded alone"):
        CODEC.decode([Layer(Kind.BASE, payload)])


def test_a_reference_of_another_size_of_picture_is_refused() -> None:
    window = Window(0, 80, 320, 240, 320, 320)
    first, second = frames(2)
    before = CODEC.encode_after(first, 300, window, None).state
    other = CODEC.encode_after(first, 300, None, None).state
    payload = CODEC.encode_after(second, 300, window, before).layers[0].payload
    forged = payload[:2] + other.name + payload[8:]
    with pytest.raises(BitstreamError, match="reference: expected one of the window"):
        CODEC.decode_after([Layer(Kind.BASE, forged)], window, {other.name: other}.get)


def test_kept_frames_that_are_coded_alone_decode_without_anything() -> None:
    (frame,) = frames(1)
    coded = CODEC.encode_after(frame, 300, None, None)
    assert int.from_bytes(coded.layers[0].payload[:2], "big") == 300 | KEPT
    for found, expected in zip(CODEC.decode(coded.layers), CODEC.decode(CODEC.encode(frame, 300)), strict=True):
        assert np.array_equal(found, expected)
