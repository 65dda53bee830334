"""The engine with a codec that has a network of its own: a batch shares its run, and nobody's trouble."""

from pathlib import Path

import numpy as np
import pytest

from cloud.detector import Detector
from cloud.frame import Frame, Reason, Refused, Result
from common.bundle import Bundle
from common.codec import Layer, pack, unpack
from common.codec.container import Container
from tests.cloud.test_engine import frame, run
from tests.scalable import tiny
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
    detector = Detector(latent, 1, 0.05)
    containers = [unpack(payload(latent, i)) for i in range(4)]
    assert all(detector.is_batched(container) for container in containers)
    for container, (origin, at) in zip(containers, detector.enter_many(containers), strict=True):
        (expected_origin, expected), found = detector.enter(container), at.features
        assert origin == expected_origin and found is not None and expected.features is not None
        assert np.abs(found[0] - expected.features[0]).max() < 1e-5


def test_other_payloads_are_not_batched(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path, edge=True, image=True)
    detector = Detector(bundle, 1, 0.05)
    for codec in (3, 4):
        assert not detector.is_batched(Container(bundle.prefix, codec, 50, 64, 48, [Layer(0, b"")]))
