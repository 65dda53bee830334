"""The engine with a codec that has a network of its own: a batch shares its run, and nobody's trouble."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud.detector import Detector
from cloud.frame import Frame, Reason, Refused, Result
from cloud.offers import coded_layers
from cloud.states import States
from common import feature_codec
from common.bundle import Bundle
from common.codec import Coded, Layer, pack, unpack
from common.codec.container import Container
from common.payload import DetectionList
from common.scalable import LatentFeatures
from tests.cloud.test_engine import frame, run
from tests.scalable import tiny
from tests.scalable.coded import features_of
from tests.scalable.coded import frame as coded_frame

SIZES = [(64, 48), (48, 64), (320, 320), (17, 33)]


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("latent"))


def payload(bundle: Bundle, number: int, others: bool = False) -> bytes:
    width, height = SIZES[number % len(SIZES)]
    layers = coded_frame(bundle, width, height, seed=number).layers
    return pack(Container(bundle.prefix, 5, 320, width, height, layers if others else layers[:1]))


def some(bundle: Bundle, count: int) -> list[Frame]:
    return [frame(bundle, i, payload(bundle, i, others=i % 3 == 0)) for i in range(count)]


def test_a_batch_gives_what_singles_give(latent: Bundle) -> None:
    frames = some(latent, 12)
    alone, singles = run(frames, batch_max=1)
    together, sizes = run(frames, batch_max=8)
    assert singles == [1] * 12 and max(sizes) > 1
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Result) and isinstance(other, Result)
        assert (one.origin.codec, one.timing.keys()) == ("latent", other.timing.keys())
        assert [(d.label, d.box) for d in one.detections] == [(d.label, d.box) for d in other.detections]
        scores = [[d.score for d in outcome.detections] for outcome in (one, other)]
        assert np.allclose(*scores, atol=2e-4) and scores[0]


def test_one_bad_frame_is_its_own_trouble(latent: Bundle) -> None:
    frames = some(latent, 8)
    good = unpack(payload(latent, 3))
    bad = [Layer(0, good.layers[0].payload[:-1])]
    frames[3] = frame(latent, 3, pack(Container(latent.prefix, 5, 320, good.width, good.height, bad)))
    outcomes, _ = run(frames, batch_max=8)
    assert [isinstance(outcome, Refused) for outcome in outcomes] == [i == 3 for i in range(8)]
    refused = outcomes[3]
    assert isinstance(refused, Refused) and refused.reason is Reason.CORRUPT


def test_several_frames_are_one_run_of_the_network(latent: Bundle) -> None:
    detector, states = Detector(latent, 1, 0.05), States()
    entered = [detector.enter_frame(each, states) for each in some(latent, 4)]
    reads = [at.read for _, at in entered if at.read is not None]
    assert len(reads) == 4
    for i, features in enumerate(detector.raise_many(reads)):
        origin, expected = detector.enter(unpack(payload(latent, i)))
        assert origin == entered[i][0] and expected.features is not None
        assert np.abs(features[0] - expected.features[0]).max() < 1e-5


def test_other_payloads_are_not_read(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path, edge=True, image=True)
    found = DetectionList(["person"], 10).encode([], 64, 48)
    listed = frame(bundle, 1, pack(Container(bundle.prefix, DetectionList.id, 0, 64, 48, found)))
    _, at = Detector(bundle, 1, 0.05).enter_frame(listed, States())
    assert at.read is None and at.detections == []


# ---- Frames after others -------------------------------------------------------------------------------------------


class Camera:
    """Codes pictures of a scene that moves slowly, each after the one before."""

    def __init__(self, bundle: Bundle) -> None:
        codec = feature_codec.of(bundle)
        assert isinstance(codec, LatentFeatures)
        self.bundle, self.codec = bundle, codec
        self.coded: list[Coded] = []

    def frames(self, count: int) -> list[Frame]:
        return [self.frame(seq) for seq in range(count)]

    def frame(self, seq: int) -> Frame:
        picture = np.roll(tiny.picture(96, 64, seed=4), seq, axis=1)
        window = self.bundle.manifest.input.window(96, 64)
        before = self.coded[-1].state if self.coded else None
        self.coded.append(self.codec.encode_after(features_of(self.bundle, picture), 320, window, before))
        layers, _, alone, _ = self.coded[-1]
        assert alone == (seq == 0)
        return frame(self.bundle, seq, pack(Container(self.bundle.prefix, 5, 320, 96, 64, layers, alone)))


def test_frames_after_others_share_a_run_and_are_kept_as_they_stand_alone(latent: Bundle) -> None:
    camera = Camera(latent)
    outcomes, sizes = run(camera.frames(8), batch_max=8)
    assert max(sizes) > 1
    for outcome, coded in zip(outcomes, camera.coded, strict=True):
        assert isinstance(outcome, Result) and outcome.standing == coded.standing
        (kept,) = coded_layers(outcome)
        assert kept == (coded.standing or coded.layers[0])
        window = latent.manifest.input.window(96, 64)
        assert np.array_equal(
            camera.codec.latent([kept], window), camera.codec.latent([coded.standing or kept], window)
        )
    alone, _ = run([restated(latent, i, coded) for i, coded in enumerate(camera.coded)], batch_max=1)
    for one, other in zip(outcomes, alone, strict=True):
        assert isinstance(one, Result) and isinstance(other, Result)
        assert [(d.label, d.box) for d in one.detections] == [(d.label, d.box) for d in other.detections]


def restated(bundle: Bundle, seq: int, coded: Coded) -> Frame:
    layers = [coded.standing or coded.layers[0]]
    return frame(bundle, seq, pack(Container(bundle.prefix, 5, 320, 96, 64, layers)))


def test_a_frame_in_the_middle_that_is_missing_or_damaged_stops_its_camera_alone(latent: Bundle) -> None:
    frames = Camera(latent).frames(6)
    others = [replace(each, camera="yard") for each in some(latent, 3)]
    outcomes, _ = run([*frames[:2], *frames[3:5], *others], batch_max=8)
    lost = [outcome.reason if isinstance(outcome, Refused) else None for outcome in outcomes]
    assert lost == [None, None, Reason.MISSING_REFERENCE, Reason.MISSING_REFERENCE, None, None, None]
    bad = replace(frames[2].container.layers[0], payload=frames[2].container.layers[0].payload[:-2])
    frames[2] = replace(frames[2], container=replace(frames[2].container, layers=[bad]))
    outcomes, _ = run(frames[:3], batch_max=8)
    refused = outcomes[2]
    assert isinstance(refused, Refused) and refused.reason is Reason.CORRUPT
