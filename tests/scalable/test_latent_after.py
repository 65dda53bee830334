"""Base layers coded after others: the same in every process, the same said alone, and what is missing is said."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import Coded, Container, Kind, Layer, State, TemporalCodec, Window, pack
from common.codec.temporal import AFTER, KEPT
from common.errors import BitstreamError, BundleError, MissingReferenceError
from common.scalable import LatentFeatures, PictureLayers
from tests.house.repository import ROOT
from tests.scalable import after, nets, tiny
from tests.scalable.coded import features_of

SIZE = 96, 64
LEARNED = [
    path.parent
    for path in sorted((ROOT / "cloud" / "bundles").glob("*/" + bundles.MANIFEST))
    if bundles.parse_manifest(path.read_bytes())[1].codec["name"] == LatentFeatures.name
]


@pytest.fixture
def codec(two: Bundle) -> LatentFeatures:
    return after.opened(two, "kernel")


@pytest.fixture
def window(two: Bundle) -> Window:
    return two.manifest.input.window(*SIZE)


def frames(count: int, shape: list[int] = nets.CUT, motion: float = 0.01, seed: int = 0) -> list[list[Any]]:
    """Features of a scene that changes a little from frame to frame."""
    rng = np.random.default_rng(seed)
    scene = rng.normal(size=shape)
    return [[(scene + motion * rng.normal(size=shape)).astype(np.float32)] for _ in range(count)]


def pair(codec: LatentFeatures, window: Window | None, quality: int = 320) -> tuple[Coded, Coded]:
    """A frame, and the next one after it."""
    first, second = frames(2)
    before = codec.encode_after(first, quality, window, None)
    return before, codec.encode_after(second, quality, window, before.state)


# ---- Both sides ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [Window(0, 53, 320, 267, 320, 320), None])
def test_what_stays_is_not_coded_again(codec: LatentFeatures, of: Window | None) -> None:
    assert isinstance(codec, TemporalCodec)
    before, coded = pair(codec, of)
    assert before.alone and before.standing is None and not coded.alone
    assert coded.standing is not None
    assert len(coded.layers[0].payload) < 0.5 * len(coded.standing.payload)
    features, state = codec.decode_after(coded.layers, of, {before.state.name: before.state}.get)
    assert state is not None and state.name == coded.state.name
    assert np.array_equal(state.levels, coded.state.levels)
    assert np.array_equal(features[0], codec.decode([coded.standing], of)[0]), "said alone it is the same, to the bit"


def test_nothing_drifts_over_frames_of_changing_quality(two: Bundle, codec: LatentFeatures, window: Window) -> None:
    rng, other = np.random.default_rng(5), after.opened(two, "reference")
    sender: State | None = None
    held: dict[bytes, State] = {}
    scene = frames(8)
    for i in range(60):
        coded = codec.encode_after(scene[i % 8], int(rng.integers(200, 450)), window, sender)
        read = other.read(coded.layers, window, held.get)
        assert read.state is not None and np.array_equal(read.state.levels, coded.state.levels)
        assert read.standing == coded.standing
        held, sender = {read.state.name: read.state}, coded.state


@pytest.mark.parametrize("which", ["tiny", *LEARNED], ids=lambda each: getattr(each, "name", each)[:12])
def test_other_processes_have_the_same(which: Path | str, two: Bundle, tmp_path: Path) -> None:
    """By the kernel and by the reference, over a chain of frames that are coded after one another."""
    bundle = bundles.load(which, "both") if isinstance(which, Path) else two
    codec, size = after.opened(bundle, "kernel"), SIZE
    own, files, state = [], [], None
    for i in range(5):
        picture = np.roll(tiny.picture(*size, seed=2), i, axis=1)
        features = features_of(bundle, picture)
        coded = codec.encode_after(features, None, bundle.manifest.input.window(*size), state)
        assert coded.alone == (state is None)
        state = coded.state
        files.append(tmp_path / str(i))
        container = Container(bundle.prefix, codec.id, codec.default_quality, *size, coded.layers, coded.alone)
        files[-1].write_bytes(pack(container))
        own.append(state.name.hex())
    found = []
    for way in ("kernel", "reference"):
        command = [sys.executable, "-m", "tests.scalable.after", way, bundle.path, *files]
        run = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        found.append(json.loads(run.stdout))
    assert found[0] == found[1]
    assert [name for name, _ in found[0]] == own


def test_pictures_are_coded_upon_what_stands_alone(two: Bundle, codec: LatentFeatures) -> None:
    pictures, picture = PictureLayers.open(two), tiny.picture(*SIZE)
    window = two.manifest.input.window(*SIZE)
    features = features_of(two, picture)
    before = codec.encode_after(features, 320, window, None)
    coded = codec.encode_after(features, 320, window, before.state)
    assert coded.standing is not None
    layer = pictures.encode("full", picture, [coded.standing])
    read = codec.read(coded.layers, window, {before.state.name: before.state}.get)
    assert read.standing is not None
    shown = pictures.decode([read.standing, layer], *SIZE)
    assert np.abs(shown.astype(int) - picture).mean() < 12
    with pytest.raises(BitstreamError, match="expected a frame that is coded alone"):
        pictures.decode([coded.layers[0], layer], *SIZE)


def test_several_frames_are_raised_at_once(codec: LatentFeatures, window: Window) -> None:
    before, coded = pair(codec, window)
    held = {before.state.name: before.state}.get
    reads = [codec.read(one.layers, window, held) for one in (before, coded)]
    for (found,), one in zip(codec.raise_many(reads), (before, coded), strict=True):
        assert np.abs(found - codec.decode_after(one.layers, window, held)[0][0]).max() < 1e-5


# ---- Alone ---------------------------------------------------------------------------------------------------------


def test_a_frame_that_has_fewer_bytes_alone_is_coded_alone(codec: LatentFeatures, window: Window) -> None:
    (other,), (wanted,) = frames(1, seed=1), ([np.full(nets.CUT, nets.BLANK, np.float32)],)
    before = codec.encode_after(other, 511, window, None).state
    coded = codec.encode_after(wanted, 100, window, before)
    assert coded.alone and coded.standing is None
    assert len(coded.layers[0].payload) == len(codec.encode(wanted, 100, window)[0].payload)


def test_a_reference_of_another_window_is_not_used(codec: LatentFeatures, window: Window) -> None:
    (frame,) = frames(1)
    before = codec.encode_after(frame, 320, window, None).state
    assert codec.encode_after(frame, 320, None, before).alone


def test_a_frame_that_is_not_kept_leaves_nothing_and_its_bytes_are_the_plain_ones(codec: LatentFeatures) -> None:
    (frame,) = frames(1)
    coded = codec.encode_after(frame, 320, None, None, keep=False)
    assert coded.layers == codec.encode(frame, 320)
    assert codec.decode_after(coded.layers, None, {}.get)[1] is None


def test_kept_frames_that_are_coded_alone_decode_without_anything(codec: LatentFeatures, window: Window) -> None:
    (frame,) = frames(1)
    coded = codec.encode_after(frame, 320, window, None)
    assert int.from_bytes(coded.layers[0].payload[:2], "big") == 320 | KEPT
    expected = codec.decode(codec.encode(frame, 320, window), window)[0]
    assert np.array_equal(codec.decode(coded.layers, window)[0], expected)


# ---- What is wrong -------------------------------------------------------------------------------------------------


def test_a_missing_or_damaged_reference_is_said(codec: LatentFeatures, window: Window) -> None:
    before, coded = pair(codec, window)
    name = before.state.name
    with pytest.raises(MissingReferenceError, match=f"coded after {name.hex()}, which is not held here"):
        codec.decode_after(coded.layers, window, {}.get)
    levels = before.state.levels.copy()
    levels[7] += 1
    for damaged in (State(320, window, levels, name), replace(before.state, quality=321)):
        with pytest.raises(MissingReferenceError, match="which is damaged here"):
            codec.decode_after(coded.layers, window, {name: damaged}.get)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:8], "base layer: expected more than 8 bytes, got 8"),
        (lambda d: (900 | AFTER).to_bytes(2, "big") + d[2:], r"quality: expected 0\.\.511, got 900"),
        (lambda d: d[:-2], "expected the bytes that encode one after this, got others"),
        (lambda d: d + b"\0\0", "expected the bytes that encode one after this, got others"),
        (lambda d: d[:10], "rANS stream: expected 1 states"),
    ],
)
def test_layers_that_do_not_fit_are_refused(codec: LatentFeatures, window: Window, change: Any, message: str) -> None:
    before, coded = pair(codec, window)
    payload = coded.layers[0].payload
    with pytest.raises(BitstreamError, match=message):
        codec.decode_after([Layer(Kind.BASE, change(payload))], window, {before.state.name: before.state}.get)
    with pytest.raises(BitstreamError, match="expected a frame that is coded alone"):
        codec.decode([Layer(Kind.BASE, payload)], window)


def test_mutations_are_refused_or_another_frame(codec: LatentFeatures, window: Window) -> None:
    before, coded = pair(codec, window)
    payload, held, rng = coded.layers[0].payload, {before.state.name: before.state}, np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        data = bytearray(payload)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        data = data[: int(rng.choice([len(data), rng.integers(1, len(data))]))]
        try:
            read = codec.read([Layer(Kind.BASE, bytes(data))], window, held.get)
        except (BitstreamError, MissingReferenceError):
            refused += 1
        else:
            assert read.latent.shape == (codec.coder.channels, *codec.grid)
    assert refused > 250


def test_a_reference_of_another_size_of_picture_is_refused(codec: LatentFeatures, window: Window) -> None:
    _, coded = pair(codec, window)
    other = codec.encode_after(frames(1)[0], 320, None, None).state
    forged = coded.layers[0].payload[:2] + other.name + coded.layers[0].payload[8:]
    with pytest.raises(BitstreamError, match="reference: expected one of the window"):
        codec.decode_after([Layer(Kind.BASE, forged)], window, {other.name: other}.get)


def test_other_payloads_of_layers_have_no_flags(two: Bundle, codec: LatentFeatures) -> None:
    """They are the base layer's alone."""
    pictures, picture = PictureLayers.open(two), tiny.picture(*SIZE)
    base = codec.encode(features_of(two, picture), 320, two.manifest.input.window(*SIZE))
    full = pictures.encode("full", picture, base)
    flagged = (int.from_bytes(full.payload[:2], "big") | KEPT).to_bytes(2, "big") + full.payload[2:]
    with pytest.raises(BitstreamError, match="quality: expected"):
        pictures.decode([*base, replace(full, payload=flagged)], *SIZE)


def test_a_base_layer_whose_qualities_leave_no_room_for_flags_is_none(two: Bundle) -> None:
    codec = two.manifest.codec | {"unit": 16300, "qualities": [16000, 16384], "default_quality": 16300}
    changed = Bundle(two.path, two.digest, two.manifest.model_copy(update={"codec": codec}))
    with pytest.raises(BundleError, match="qualities below 16384"):
        LatentFeatures.open(changed)
