"""Frames coded after others: what the engine makes of them dropped, doubled, in disorder, evicted and damaged."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.networks import shipped
from cloud.engine import Engine
from cloud.frame import Frame, Outcome, Reason, Refused, Result
from cloud.states import States
from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec import Container, Layer, State, TemporalCodec, pack
from common.errors import MissingReferenceError
from tests.cloud import tiny
from tests.cloud.test_engine import engine
from tests.cloud.test_engine import frame as packed


@pytest.fixture(scope="module", params=["embedded", "scalable2"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """One of each codec that codes frames after others."""
    return bundles.load(shipped(request.param), "both")


@pytest.fixture(scope="module")
def codec(bundle: Bundle) -> TemporalCodec:
    found = feature_codec.of(bundle)
    assert isinstance(found, TemporalCodec)
    return found


class Camera:
    """Codes the features of a scene that hardly changes, after any frame it coded before."""

    def __init__(self, bundle: Bundle, codec: TemporalCodec, name: str = "door", seed: int = 0) -> None:
        self.bundle, self.codec, self.name = bundle, codec, name
        self.rng = np.random.default_rng(seed)
        self.scene = [self.rng.normal(size=shape) for shape in bundle.manifest.cut.shapes]
        self.states: list[State] = []

    def frame(self, seq: int, after: int | None, anew: bool = False, size: tuple[int, int] = (320, 320)) -> Frame:
        features = [(part + 0.1 * self.rng.normal(size=part.shape)).astype(np.float32) for part in self.scene]
        before = None if after is None else self.states[after]
        window = self.bundle.manifest.input.window(*size)
        layers, state, alone, _ = self.codec.encode_after(features, None, window, before)
        assert alone == (after is None)
        self.states.append(state)
        container = Container(self.bundle.prefix, self.codec.id, 224, *size, layers, keyframe=alone)
        return replace(packed(self.bundle, seq, pack(container)), camera=self.name, anew=anew)


@pytest.fixture
def camera(bundle: Bundle, codec: TemporalCodec) -> Camera:
    return Camera(bundle, codec)


Run = Callable[[list[Frame]], list[Outcome]]


@pytest.fixture
def run() -> Iterator[tuple[Engine, Run]]:
    """An engine, and how to send frames through it and wait for what became of them."""
    with engine(4, wait_ms=20) as (one, delivered):

        def through(frames: list[Frame]) -> list[Outcome]:
            for f in frames:
                one.submit(f)
            got: list[Outcome] = []
            while len(got) < len(frames):
                got += delivered.get(timeout=60)[1]
            return got

        yield one, through


def refused(outcome: Outcome) -> Reason | None:
    return outcome.reason if isinstance(outcome, Refused) else None


def test_frames_after_others_have_results(camera: Camera, run: tuple[Engine, Run]) -> None:
    one, through = run
    frames = [camera.frame(0, None), *(camera.frame(i, i - 1) for i in range(1, 6))]
    assert all(isinstance(outcome, Result) for outcome in through(frames))
    assert len(one.states) == 2, "the newest and the one that it is coded after"


def test_a_dropped_or_doubled_frame_breaks_no_other(camera: Camera, run: tuple[Engine, Run]) -> None:
    """All are coded after one that had been acked."""
    _, through = run
    first = camera.frame(0, None)
    second, _lost, fourth, fifth = (camera.frame(i, 0) for i in (1, 2, 3, 4))
    assert [refused(o) for o in through([first, second, second, fourth, fifth])] == [None] * 5


def test_what_follows_a_missing_reference_waits_until_it_comes_anew(camera: Camera, run: tuple[Engine, Run]) -> None:
    _, through = run
    camera.frame(0, None)  # never arrives
    missing, behind, later = camera.frame(1, 0), camera.frame(2, None), camera.frame(3, None)
    lost = Reason.MISSING_REFERENCE
    assert [refused(o) for o in through([missing, behind])] == [lost, lost]
    anew = [camera.frame(1, None, anew=True), camera.frame(2, None, anew=True), later]
    assert [refused(o) for o in through(anew)] == [None] * 3


def test_an_edge_that_gives_a_frame_up_goes_on_with_the_next(camera: Camera, run: tuple[Engine, Run]) -> None:
    _, through = run
    camera.frame(0, None)
    lost = Reason.MISSING_REFERENCE
    assert [refused(o) for o in through([camera.frame(1, 0), camera.frame(2, None)])] == [lost, lost]
    assert [refused(o) for o in through([camera.frame(2, None, anew=True), camera.frame(3, None)])] == [None, None]


@pytest.mark.parametrize("end", [Reason.EXPIRED, Reason.CORRUPT, Reason.FAILED])
def test_a_frame_that_comes_anew_for_nothing_holds_up_none_behind_it(
    end: Reason, bundle: Bundle, camera: Camera, run: tuple[Engine, Run], tmp_path: Path
) -> None:
    _, through = run
    camera.frame(0, None)  # never arrives
    assert [refused(o) for o in through([camera.frame(1, 0)])] == [Reason.MISSING_REFERENCE]
    anew = camera.frame(1, None, anew=True)
    if end is Reason.EXPIRED:
        anew = replace(anew, expires_us=1)
    elif end is Reason.CORRUPT:
        anew = replace(anew, container=replace(anew.container, layers=[Layer(0, b"\xff" * 50)]))
    else:
        manifest = bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
        broken = bundles.write(tmp_path, manifest, {"back.onnx": ("cloud", b"not a network")})
        anew = replace(anew, bundle=broken)
    assert [refused(o) for o in through([anew, camera.frame(2, None)])] == [end, None]


def test_another_bundle_in_the_same_batch_waits_too(
    bundle: Bundle, camera: Camera, run: tuple[Engine, Run], tmp_path: Path
) -> None:
    """Bundles go one after the other, and the one that comes first is not the one of the frame that is missing."""
    one, through = run
    other = tiny.write(tmp_path)
    camera.frame(0, None)  # never arrives
    switched = [
        replace(packed(other, seq, tiny.payload(other, {})), camera=name) for seq, name in ((1, "y"), (3, "door"))
    ]
    one.prepare(bundle)
    one.prepare(other)
    got = through([switched[0], camera.frame(2, 0), switched[1]])
    lost = Reason.MISSING_REFERENCE
    assert [refused(o) for o in got] == [None, lost, lost]


def test_cameras_neither_share_references_nor_wait_for_each_other(
    bundle: Bundle, codec: TemporalCodec, run: tuple[Engine, Run]
) -> None:
    _, through = run
    door, yard = Camera(bundle, codec), Camera(bundle, codec, "yard")
    yard.states = door.states
    opening = door.frame(0, None)
    got = through([opening, yard.frame(1, 0), door.frame(2, 0), yard.frame(3, None)])
    lost = Reason.MISSING_REFERENCE
    assert [refused(o) for o in got] == [None, lost, None, lost]


def test_another_size_begins_alone_and_a_forged_reference_is_corrupt(camera: Camera, run: tuple[Engine, Run]) -> None:
    _, through = run
    wide = camera.frame(1, None, size=(640, 360))
    narrow, after = camera.frame(2, None), camera.frame(3, 1)
    (layer,) = after.container.layers
    forged = replace(layer, payload=layer.payload[:2] + camera.states[0].name + layer.payload[8:])
    bad = replace(after, container=replace(after.container, layers=[forged]))
    assert [refused(o) for o in through([wide, narrow, bad])] == [None, None, Reason.CORRUPT]


def test_a_reference_that_was_damaged_here_is_asked_for_anew(camera: Camera, run: tuple[Engine, Run]) -> None:
    one, through = run
    first, second = camera.frame(0, None), camera.frame(1, 0)
    assert [refused(o) for o in through([first])] == [None]
    held = one.states.held(first, camera.states[0].name)
    assert held is not None
    held.levels.flags.writeable = True
    held.levels[5] += 1
    (outcome,) = through([second])
    assert refused(outcome) is Reason.MISSING_REFERENCE
    assert isinstance(outcome, Refused) and "damaged" in outcome.detail


# ---- What is held ---------------------------------------------------------------------------------------------------


def test_bytes_and_age_are_bounded(camera: Camera) -> None:
    now = 0.0
    frames = [camera.frame(i, None) for i in range(6)]
    one = camera.states[0].levels.nbytes + 512
    states = States(max_bytes=3 * one, max_age_s=10, clock=lambda: now)
    for frame, state in zip(frames, camera.states, strict=True):
        states.keep(frame, state)
        now += 1
    assert (len(states), states.bytes) == (3, 3 * one)
    assert states.held(frames[0], camera.states[2].name) is None
    assert states.held(frames[0], camera.states[3].name) is camera.states[3]
    now = 13.5
    assert states.held(frames[0], camera.states[3].name) is None
    assert states.held(frames[0], camera.states[5].name) is camera.states[5]
    now = 100
    states.keep(replace(frames[0], camera="other"), camera.states[0])
    assert (len(states), states.bytes) == (1, one)


def test_what_goes_is_counted_and_what_has_no_room_at_all_moves_nothing(camera: Camera) -> None:
    now, reasons, frame = 0.0, [], camera.frame(0, None)
    one = camera.states[0].levels.nbytes + 512
    states = States(max_bytes=2 * one, max_age_s=10, clock=lambda: now)
    states.on_dropped = reasons.append
    for i in range(3):
        states.keep(replace(frame, camera=f"c{i}"), camera.states[0])
    assert reasons == ["no room"] and states.bytes == 2 * one
    large = State.of(0, None, np.zeros(one, np.int32))
    states.keep(replace(frame, camera="large"), large)
    assert reasons == ["no room"] * 2 and states.bytes == 2 * one
    now = 11
    states.keep(frame, camera.states[0])
    assert reasons == ["no room"] * 2 + ["age"] * 2 and states.bytes == one


def test_what_is_older_than_a_reference_goes(camera: Camera) -> None:
    frames, states = [camera.frame(i, None) for i in range(4)], States()
    for frame, state in zip(frames, camera.states, strict=True):
        states.keep(frame, state)
    assert states.held(frames[0], camera.states[2].name) is camera.states[2]
    assert len(states) == 2
    assert states.held(frames[0], camera.states[1].name) is None


def test_what_another_edge_or_bundle_left_is_not_found(camera: Camera) -> None:
    frame, states = camera.frame(0, None), States()
    states.keep(frame, camera.states[0])
    assert states.held(replace(frame, key=("other", "epoch", 1)), camera.states[0].name) is None


def test_each_memory_has_a_name_of_its_own() -> None:
    assert len({States().name for _ in range(3)}) == 3
    assert len(States().name) == 12


def test_awaited_frames_are_bounded(camera: Camera) -> None:
    frame, states = camera.frame(5, None), States()
    for i in range(5000):
        states.missing(replace(frame, camera=f"c{i}"))
    states.check(replace(frame, camera="c0", key=("e", "epoch", 6)))
    with pytest.raises(MissingReferenceError, match="frame 5 of this camera comes first"):
        states.check(replace(frame, camera="c4999", key=("e", "epoch", 6)))
