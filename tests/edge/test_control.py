"""Rate control and modes on a simulated link: a queue that empties at so many bytes a second, acked a moment later."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.curve import Curve
from common.telemetry import Metrics
from common.types import Mode
from edge import control as controls
from edge.control import Control
from edge.decide import CARRIES, Camera, Rung, Situation, allocate, decide, ladder, total
from edge.encode import Encoded, Encoder
from edge.goodput import Goodput, Link
from edge.meter import Meter
from edge.points import AUTO, Choice, Decided, OperatingPoints, Point
from tests.edge import tiny

SPLIT = Choice(Mode.SPLIT, AUTO)
COSTS = {Mode.SPLIT: 6.0, Mode.IMAGE: 2.0, Mode.EDGE: 20.0}
BYTES = {Mode.IMAGE: 2000, Mode.EDGE: 60}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(tiny.write(tmp_path_factory.mktemp("b"), side="both"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Of a bundle that allows no mode but split, and has one quality more."""
    return Encoder(tiny.write(tmp_path_factory.mktemp("o"), name="other", levels=(2, 3, 4, 8)))


@dataclass
class World:
    """Cameras, an edge that decides, and a link of `rate(t)` bytes a second."""

    encoder: Encoder
    rate: Callable[[float], float]
    fps: dict[str, float]
    choice: Choice = SPLIT
    rtt: float = 0.03
    now: float = 0.0
    costs: dict[Mode, float] = field(default_factory=lambda: dict(COSTS))
    others: dict[str, Encoder] = field(default_factory=dict)
    """What cameras have that `encoder` does not code."""
    turns: list[tuple[float, str, Point]] = field(default_factory=list)
    queued: float = 0.0

    def __post_init__(self) -> None:
        self.points = OperatingPoints(self.choice, 10)
        self.control = Control(self.points, Meter(Metrics("edge", "0"), 10), 1, 10, self.coded_by)
        self.goodput = Goodput()
        self._rng = random.Random(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._free_at = 0.0
        for i, camera in enumerate(self.fps):
            self._at(i / 17, lambda camera=camera: self._frame(camera))
        self._at(1.0, self._tick)

    def run(self, until: float) -> "World":
        while self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self

    def coded_by(self, camera: str) -> Encoder:
        return self.others.get(camera, self.encoder)

    def point(self, camera: str) -> Point:
        return self.points.of(camera, self.coded_by(camera).ways)

    def turned(self, since: float = 0.0) -> list[tuple[float, str, Point]]:
        return [turn for turn in self.turns if turn[0] > since]

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def _frame(self, camera: str) -> None:
        point, encoder = self.point(camera), self.coded_by(camera)
        usual = encoder.curves[point.mode].bytes_mean(point.quality) or BYTES[point.mode]
        size = round(usual * self._rng.uniform(0.8, 1.2))
        timing = {"decode_picture": 1.0, "front": self.costs[point.mode] - 1}
        coded = Encoded(bytes(size), 64, 64, point, "image/jpeg", size, 0, timing)
        self.control.saw(camera, coded, encoder, self.now)
        self._send(size)
        self._at(self.now + self._rng.uniform(0.9, 1.1) / self.fps[camera], lambda: self._frame(camera))

    def _send(self, size: int) -> None:
        seq = self._count
        self.goodput.sent(seq, size, self.now)
        self.queued += size
        self._free_at = max(self.now, self._free_at) + size / self.rate(max(self.now, self._free_at))

        def ack() -> None:
            self.queued -= size
            self.goodput.acked(seq, self.now, held=0.0)

        self._at(self._free_at + self.rtt, ack)

    def _tick(self) -> None:
        before = {camera: self.point(camera) for camera in self.fps}
        self.control.tick(Link(self.goodput.rate_at(self.now)), self.now)
        self.turns += [(self.now, c, self.point(c)) for c in self.fps if self.point(c) != before[c]]
        self._at(self.now + 1, self._tick)


def test_a_link_that_is_wide_enough_changes_nothing(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 50_000, {"a": 10, "b": 10}).run(600)
    assert world.turns == [] and world.point("a") == Point(Mode.SPLIT, 4)
    assert world.goodput.rate is None


@pytest.mark.parametrize("rtt", [0.005, 0.3])
def test_down_within_seconds_and_then_still(encoder: Encoder, rtt: float) -> None:
    """Two cameras need 8 kB/s; from the tenth second the link carries 5."""
    world = World(encoder, lambda t: 50_000 if t < 10 else 5_000, {"a": 10, "b": 10}, rtt=rtt).run(20)
    assert world.point("a") == world.point("b") == Point(Mode.SPLIT, 2)
    settled = world.turned()[-1][0]
    assert settled < 20
    world.run(580)
    assert world.turned(since=settled) == [], "a constant link, constant points"
    assert world.queued < 2_000, "what had piled up is gone"
    assert "the link carries" in world.points.cause("a", encoder.ways)


def test_up_again_when_the_link_mends_but_slowly(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 3_000 if t < 100 else 100_000, {"a": 10}, rtt=0.01).run(100)
    assert world.point("a") == Point(Mode.SPLIT, 2)
    world.run(200)
    assert world.point("a") == Point(Mode.SPLIT, 4)
    (up,) = world.turned(since=100)
    assert up[0] >= 100 + controls.UP_S
    assert world.run(800).turned(since=up[0]) == []


@pytest.mark.parametrize("rate", [2_500, 3_300, 3_700, 4_000, 4_200, 4_500, 5_000])
def test_no_constant_link_is_tried_again_and_again(encoder: Encoder, rate: float) -> None:
    """Near a step's price as well: in an hour a point changes at most as often as an old rate comes into doubt."""
    world = World(encoder, lambda t: rate, {"a": 10}).run(3600)
    doubts = 2  # after 10 minutes, then after 20, and 40 are longer than the rest
    assert len(world.turns) <= 1 + 2 * (doubts + 1), world.turns


def test_a_link_whose_rate_steps_is_followed(encoder: Encoder) -> None:
    steps = [50_000, 2_800, 50_000, 2_800]
    world = World(encoder, lambda t: steps[min(3, int(t // 120))], {"a": 10}, rtt=0.01)
    seen = [world.run(120 * (i + 1) - 1).point("a").quality for i in range(4)]
    assert seen == [4, 2, 4, 2] and len(world.turns) == 3


def test_the_camera_that_saves_most_goes_down_first(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 3_800, {"fast": 10, "slow": 1}).run(60)
    assert world.point("fast").quality == 2 and world.point("slow").quality == 4


def test_a_fixed_camera_stays_and_what_it_needs_is_not_given_away(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 7_000, {"fixed": 10, "free": 10})
    world.points.set(Choice(Mode.SPLIT, 4), "fixed")
    world.run(60)
    assert world.point("fixed").quality == 4 and world.point("free").quality == 2
    world.points.set(Choice(Mode.SPLIT, AUTO), "fixed")
    world.points.set(Choice(Mode.SPLIT, 8), "free")
    assert world.point("free").quality == 8, "at once"


def test_what_the_cloud_asks_for_is_an_upper_bound(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 1e6, {"a": 10})
    world.goodput.hint = 3_000
    assert world.run(5).point("a").quality == 2
    world.goodput.hint = 0
    assert world.run(30).point("a").quality == 4


def test_auto_goes_where_link_and_load_lead(encoder: Encoder) -> None:
    """The link breaks in below the cheapest features: the edge finishes by itself, and stays until the link mends."""
    world = World(encoder, lambda t: 50_000 if not 20 < t < 200 else 1_000, {"a": 10}, Choice(AUTO, AUTO))
    assert world.run(20).point("a").mode is Mode.SPLIT
    assert world.run(100).point("a").mode is Mode.EDGE
    assert "cannot carry features" in world.points.cause("a", encoder.ways)
    world.run(199)
    modes = [point.mode for _, _, point in world.turned()]
    assert modes.count(Mode.EDGE) == 1


def test_auto_sends_pictures_when_the_edge_has_no_time(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 1e6, {"a": 10}, Choice(AUTO, AUTO), costs={**COSTS, Mode.SPLIT: 95.0})
    assert world.run(60).point("a").mode is Mode.IMAGE
    assert len(world.run(1200).turns) == 1, "what split costs is remembered"


def test_auto_stays_at_the_edge_when_that_costs_no_more(encoder: Encoder) -> None:
    world = World(encoder, lambda t: 1e6, {"a": 10}, Choice(AUTO, AUTO), costs={**COSTS, Mode.EDGE: 5.0})
    assert world.run(600).point("a").mode in (Mode.EDGE, Mode.SPLIT)
    assert len(world.turns) <= 1


def test_each_camera_goes_down_its_own_codecs_ladder(encoder: Encoder, other: Encoder) -> None:
    """Together they need 12 kB/s at 4 and 8, 4 kB/s at the least."""
    world = World(encoder, lambda t: 7_000, {"a": 10, "b": 10}, others={"b": other})
    assert world.point("b").quality == 4 and other.ways[Mode.SPLIT].default_quality == 4
    world.run(60)
    assert world.point("a").quality in (2, 4) and world.point("b").quality in (2, 3, 4)
    spent = sum(10 * (world.coded_by(c).curves[Mode.SPLIT].bytes_mean(world.point(c).quality) or 0) for c in "ab")
    assert spent <= CARRIES * 7_000
    assert world.queued < 2_000


def test_a_camera_whose_codec_changes_begins_anew(encoder: Encoder, other: Encoder) -> None:
    world = World(encoder, lambda t: 3_000, {"a": 10}).run(60)
    assert world.point("a") == Point(Mode.SPLIT, 2)
    assert set(world.control._costs) == {encoder.bundle.digest}
    world.others["a"] = other
    world.rate = lambda t: 1e6
    world.run(61)
    assert world.point("a") == Point(Mode.SPLIT, other.ways[Mode.SPLIT].default_quality)
    assert world.control.traffic["a"].bundle == other.bundle.digest
    world.run(70)
    assert set(world.control._costs) == {encoder.bundle.digest, other.bundle.digest}


def test_auto_decides_for_the_cameras_of_each_bundle(encoder: Encoder, other: Encoder) -> None:
    """The link breaks in: who can finish at the edge does, who cannot goes on with the cheapest features."""
    world = World(
        encoder, lambda t: 50_000 if t < 20 else 1_500, {"a": 10, "b": 3}, Choice(AUTO, AUTO), others={"b": other}
    ).run(150)
    assert world.point("a").mode is Mode.EDGE
    assert world.point("b") == Point(Mode.SPLIT, 2)


NEEDS = {Mode.SPLIT: 20_000.0, Mode.IMAGE: 100_000.0, Mode.EDGE: 1_000.0}
IDLE = {Mode.SPLIT: 0.1, Mode.IMAGE: 0.02, Mode.EDGE: 0.3}


@pytest.mark.parametrize(
    ("situation", "mode"),
    [
        (Situation(NEEDS, IDLE, None), Mode.SPLIT),
        (Situation(NEEDS, IDLE, 1e6), Mode.SPLIT),
        (Situation(NEEDS, IDLE, 15_000), Mode.EDGE),
        (Situation(NEEDS, {**IDLE, Mode.EDGE: 0.95}, 15_000), Mode.SPLIT),
        (Situation(NEEDS, IDLE, None, down_s=60), Mode.EDGE),
        (Situation(NEEDS, {**IDLE, Mode.SPLIT: 0.95, Mode.EDGE: 3}, 1e6), Mode.IMAGE),
        (Situation(NEEDS, {**IDLE, Mode.SPLIT: 0.95, Mode.EDGE: 3}, 110_000), Mode.SPLIT),
        (Situation(NEEDS, IDLE, None, frames=20, answered=10), Mode.EDGE),
        (Situation(NEEDS, IDLE, None, frames=20, answered=40), Mode.SPLIT),
        (Situation(NEEDS, {**IDLE, Mode.EDGE: 0.1}, 1e6), Mode.EDGE),
        (Situation({Mode.IMAGE: 1.0}, IDLE, 1e6), Mode.IMAGE),
    ],
)
def test_the_table_of_modes(situation: Situation, mode: Mode) -> None:
    assert decide(situation, next(iter(situation.needs)))[0] is mode


@pytest.mark.parametrize("link", [15_000, 19_000, 21_000, 24_000, 27_000, 1e6])
@pytest.mark.parametrize("busy", [0.1, 0.5, 0.7, 0.89, 0.95])
def test_a_decision_holds_when_it_is_asked_again(link: float, busy: float) -> None:
    """No situation throws the edge back and forth: deciding again from what was decided decides the same."""
    situation = Situation(NEEDS, {Mode.SPLIT: busy, Mode.IMAGE: busy / 4, Mode.EDGE: 1.3 * busy}, link)
    for start in Mode:
        first, _ = decide(situation, start)
        second, _ = decide(situation, first)
        assert decide(situation, second)[0] is second


def test_an_allocation_fits_or_is_the_least_and_never_wastes(encoder: Encoder) -> None:
    rng = random.Random(3)
    curve = encoder.curves[Mode.SPLIT]
    for _ in range(200):
        cameras = [Camera(str(i), rng.uniform(0, 30), ladder(Mode.SPLIT, curve, 8)) for i in range(rng.randint(1, 5))]
        budget = rng.uniform(0, 60_000)
        rungs = allocate(cameras, budget)
        assert total(cameras, rungs) <= budget or not any(rungs)
        assert allocate(cameras, None) == [2] * len(cameras)
        assert total(cameras, allocate(cameras, budget * CARRIES)) <= total(cameras, rungs) or not any(rungs)


def test_a_ladder_has_no_rung_that_a_better_one_undercuts(encoder: Encoder) -> None:
    points = encoder.bundle.manifest.operating_points
    dear = points[0].model_copy(update={"quality": 3, "bytes_mean": 500.0, "agreement_ap50": 0.85})
    rungs = ladder(Mode.SPLIT, Curve([*points, dear]), 8)
    assert [rung.point.quality for rung in rungs] == [2, 4, 8]
    assert [rung.point.quality for rung in ladder(Mode.SPLIT, Curve(points), 4)] == [2, 4]
    assert [rung.point.quality for rung in ladder(Mode.IMAGE, Curve([]), 75)] == [75]


def test_points_outlive_the_process_and_a_damaged_file_does_not_end_it(tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "operating-points.json"
    first = OperatingPoints(SPLIT, 2, path)
    first.set(Choice(Mode.EDGE, 0))
    first.set(Choice(Mode.SPLIT, 8), "a")
    again = OperatingPoints(SPLIT, 2, path)
    assert again.of("a", encoder.ways) == Point(Mode.SPLIT, 8) and again.of("b", encoder.ways) == Point(Mode.EDGE, 0)
    first.set(Choice(AUTO, AUTO), "b")
    with pytest.raises(ValueError, match="2 cameras"):
        first.set(SPLIT, "c")
    for damaged in ("", "{", "[]", '{"everybody": ["nowhere", 1], "cameras": {}}', '{"everybody": ["split", -1]}'):
        path.write_text(damaged)
        assert OperatingPoints(SPLIT, 2, path).everybody == SPLIT


def test_a_step_down_raises_nobody(encoder: Encoder) -> None:
    """A camera that is lower than the best share of the link would have it stays there until there is room."""
    world = World(encoder, lambda t: 1e6, {"a": 10, "b": 10}).run(20)
    world.points.decided["a"] = Decided(Point(Mode.SPLIT, 2), "earlier")
    world.points.decided["b"] = Decided(Point(Mode.SPLIT, 4), "earlier")
    world.control.traffic["b"].interval = 0.01
    world.control.tick(Link(3_900.0 * 10), world.now)
    assert world.point("a").quality == 2
    assert world.point("b").quality < 4


def test_a_share_is_found_below_where_each_camera_is() -> None:
    rungs = [Rung(Point(Mode.SPLIT, q), 100.0 * q, q / 10) for q in (2, 4, 8)]
    cameras = [Camera("a", 1.0, rungs), Camera("b", 10.0, rungs)]
    for budget in (0.0, 1_000.0, 2_500.0, 5_000.0, 1e9):
        for highest in ([0, 2], [1, 1], [2, 0]):
            found = allocate(cameras, budget, highest)
            assert all(f <= h for f, h in zip(found, highest, strict=True))
