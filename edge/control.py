"""Follows what was measured and decides, once a second, what each camera's frames are coded as (decide.py says how).

Down at once, up slowly: fewer bytes as soon as the link is seen to carry too little, more only after it had room for
UP_S. A mode must have been the better one for SUSTAIN_S, and is then kept for a time that doubles with every change,
so that a situation that two modes make look different does not throw the edge from one to the other for ever.

Cameras that leave their mode to the edge change it together, as far as one bundle codes them.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from common.types import Mode
from edge.codecs import Rated
from edge.decide import AIM, CARRIES, ROOMY, Camera, Situation, allocate, decide, ladder, total
from edge.encode import Encoded
from edge.goodput import Link
from edge.meter import Meter
from edge.points import AUTO, Decided, OperatingPoints, Point, resolved

TICK_S = 1.0
UP_S = 10.0
SUSTAIN_S = 10.0
DWELL_S, MOST_DWELL_S = 30.0, 3600.0
_IDLE_S = 60.0
_JPEG_MS = 1.0
"""What coding a picture is taken to cost until one was coded."""
_USUAL = {Mode.SPLIT: 4_000.0, Mode.IMAGE: 15_000.0, Mode.EDGE: 300.0}
"""Bytes a frame is taken to have in a mode that nobody has measured yet."""
_SLOW = 0.1
"""Weight of a frame in the running means."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Traffic:
    """One camera's frames lately: the time between them, their bytes, and how these compare with the curve's; the
    bytes are of one bundle.
    """

    seen: float
    bundle: str = ""
    interval: float = 0.0
    scale: float = 1.0
    bytes_mean: dict[Mode, float] = field(default_factory=dict)

    def fps(self, now: float) -> float:
        """Frames a second; falls when none come."""
        return 1 / max(self.interval, now - self.seen) if self.interval else 0.0


@dataclass(slots=True)
class _ModeKept:
    """The mode of a bundle's cameras that leave it to the edge, and since when another was the better one."""

    mode: Mode | None = None
    cause: str = "nothing speaks against it"
    changed: float = 0.0
    dwell: float = DWELL_S
    rival: Mode | None = None
    since: float = 0.0


@dataclass(slots=True)
class _Costs:
    """What frames of a bundle take here, in milliseconds: in each mode, and in each stage."""

    modes: dict[Mode, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def saw(self, mode: Mode, timing: Mapping[str, float]) -> None:
        """A frame was coded."""
        self.modes[mode] = _mean(self.modes.get(mode, 0.0), sum(timing.values()))
        for stage, ms in timing.items():
            self.stages[stage] = _mean(self.stages.get(stage, 0.0), ms)


@dataclass(slots=True)
class Control:
    """`saw` every coded frame; `tick` once a second. Fills `points.decided`. `rated` gives the operating points of what
    codes a camera; None as long as there is no bundle.
    """

    points: OperatingPoints
    meter: Meter
    workers: int
    max_cameras: int
    rated: Callable[[str], Rated | None]
    traffic: dict[str, Traffic] = field(default_factory=dict)
    _costs: dict[str, _Costs] = field(default_factory=dict)
    _kept: dict[str, _ModeKept] = field(default_factory=dict)
    """Both by the bundle's digest."""
    _room_since: float | None = None

    async def run(self, link: Callable[[], Link]) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            if self.rated("") is not None:
                self.tick(link(), time.monotonic())

    # ---- what is measured

    def saw(self, camera: str, encoded: Encoded, rated: Rated, now: float) -> None:
        """A frame was coded, with this bundle, and accepted."""
        digest, point = rated.bundle.digest, encoded.point
        self._costs.setdefault(digest, _Costs()).saw(point.mode, encoded.timing)
        if (traffic := self._traffic(camera, digest, now)) is None:
            return
        size = len(encoded.container) - encoded.shadow_bytes - encoded.pixels_bytes
        traffic.bytes_mean[point.mode] = _mean(traffic.bytes_mean.get(point.mode, 0.0), size)
        if usual := rated.curves[point.mode].bytes_mean(point.quality):
            traffic.scale = _mean(traffic.scale, size / usual)

    def _traffic(self, camera: str, digest: str, now: float) -> Traffic | None:
        """The camera's, one frame later; None if there are too many cameras."""
        traffic = self.traffic.get(camera)
        if traffic is None:
            if len(self.traffic) >= self.max_cameras:
                return None
            self.traffic[camera] = Traffic(now, digest)
            return self.traffic[camera]
        traffic.interval = _mean(traffic.interval, min(_IDLE_S, now - traffic.seen))
        traffic.seen = now
        if traffic.bundle != digest:  # another codec has other bytes, and other qualities
            traffic.bundle, traffic.scale, traffic.bytes_mean = digest, 1.0, {}
            self.points.decided.pop(camera, None)
        return traffic

    def cost(self, mode: Mode, rated: Rated) -> float:
        """Milliseconds a frame takes here in this mode: measured, or else told from the other modes' stages."""
        costs = self._costs.get(rated.bundle.digest, _Costs())
        if mode in costs.modes:
            return costs.modes[mode]
        cut = rated.bundle.manifest.cut
        picture, front = costs.stages.get("decode_picture", 0.0), costs.stages.get("front", 0.0)
        whole = front * (1 + cut.macs_back / cut.macs_front) if cut.macs_front else front
        return picture + {Mode.SPLIT: front, Mode.IMAGE: _JPEG_MS, Mode.EDGE: whole}[mode]

    def spare(self, rate: float | None, now: float) -> float | None:
        """Bytes a second that a link of this rate has room for beside all frames; None: as many as it takes."""
        return self._left(None if rate is None else ROOMY * rate, self.traffic, now)

    # ---- what is decided

    def tick(self, link: Link, now: float) -> None:
        """Decide anew for every camera. There must be a bundle."""
        self._forget(now)
        choices = {name: resolved(self.points.choice(name), self._rated(name).ways) for name in self.traffic}
        free = [name for name, choice in choices.items() if choice.mode == AUTO]
        modes = self._modes(free, link, now)
        adapting: dict[str, Mode] = {}
        for name, choice in choices.items():
            if choice.mode != AUTO and choice.quality != AUTO:
                self.points.decided.pop(name, None)
            else:
                adapting[name] = modes[name] if choice.mode == AUTO else Mode(choice.mode)
        rate = self._left(link.rate, choices.keys() - adapting.keys(), now)
        self._qualities(self._cameras(adapting, now), rate, set(free), now)

    def _rated(self, camera: str) -> Rated:
        rated = self.rated(camera)
        assert rated is not None, "there is a bundle when something is decided"
        return rated

    def _cameras(self, modes: Mapping[str, Mode], now: float) -> list[Camera]:
        out = []
        for name, mode in modes.items():
            traffic, rated = self.traffic[name], self._rated(name)
            unmeasured = traffic.bytes_mean.get(mode, _USUAL[mode])
            ceiling = rated.ways[mode].default_quality
            rungs = ladder(mode, rated.curves[mode], ceiling, traffic.scale, unmeasured)
            out.append(Camera(name, traffic.fps(now), rungs))
        return out

    def _left(self, rate: float | None, others: Iterable[str], now: float) -> float | None:
        """Bytes a second that the link carries beside these cameras."""
        if rate is None:
            return None
        for name in others:
            mode = self._point(name).mode
            traffic = self.traffic[name]
            rate -= traffic.fps(now) * traffic.bytes_mean.get(mode, _USUAL[mode])
        return max(0.0, rate)

    def _point(self, camera: str) -> Point:
        return self.points.of(camera, self._rated(camera).ways)

    def _qualities(self, cameras: list[Camera], rate: float | None, free: set[str], now: float) -> None:
        present = [self._rung(camera) for camera in cameras]
        wanted, cause = present, ""
        if rate is not None and total(cameras, present) > CARRIES * rate:
            wanted, cause = (
                allocate(cameras, AIM * rate, present),
                f"the link carries too little: {rate / 1e3:.1f} kB/s",
            )
            self._room_since = None
        elif self._may_rise(higher := allocate(cameras, None if rate is None else ROOMY * rate), present, now):
            wanted, cause = higher, "the link has room"
        for camera, rung in zip(cameras, wanted, strict=True):
            before = self.points.decided.get(camera.name)
            point = camera.rungs[rung].point
            if before is None or before.point != point:
                turned = camera.name in free and _turned(before, point)
                why = self._kept[self._rated(camera.name).bundle.digest].cause if turned else cause
                self._decide(camera.name, Decided(point, why or "nothing speaks against it"), told=before is not None)

    def _may_rise(self, higher: list[int], present: list[int], now: float) -> bool:
        better = all(h >= p for h, p in zip(higher, present, strict=True)) and higher != present
        if not better:
            self._room_since = None
            return False
        if self._room_since is None:
            self._room_since = now
        if now - self._room_since < UP_S:
            return False
        self._room_since = None
        return True

    def _rung(self, camera: Camera) -> int:
        """Where a camera is; one of which nothing was decided yet, or which has changed its mode, is at the top."""
        decided = self.points.decided.get(camera.name)
        at = [rung.point for rung in camera.rungs]
        return at.index(decided.point) if decided and decided.point in at else len(at) - 1

    def _decide(self, camera: str, decided: Decided, told: bool) -> None:
        self.points.decided[camera] = decided
        if told:
            log.info("operating point", camera=camera, **decided.point._asdict(), cause=decided.cause)
            self.meter.point_changed(decided.cause.partition(":")[0])

    def _modes(self, free: list[str], link: Link, now: float) -> dict[str, Mode]:
        """The mode of each camera that leaves it to the edge."""
        found: dict[str, Mode] = {}
        bundles = {name: self._rated(name) for name in free}
        for rated in {each.bundle.digest: each for each in bundles.values()}.values():
            group = [name for name in free if bundles[name].bundle.digest == rated.bundle.digest]
            found |= dict.fromkeys(group, self._mode(group, rated, link, now))
        return found

    def _mode(self, free: list[str], rated: Rated, link: Link, now: float) -> Mode:
        kept = self._kept.setdefault(rated.bundle.digest, _ModeKept())
        if kept.mode not in rated.ways:
            kept.mode, kept.changed = next(iter(rated.ways)), now - DWELL_S
        assert kept.mode is not None
        best, cause = decide(self._situation(free, rated, link, now), kept.mode)
        if best is kept.mode:
            kept.rival = None
            return kept.mode
        if best is not kept.rival:
            kept.rival, kept.since = best, now
        if now - kept.since >= SUSTAIN_S and now - kept.changed >= kept.dwell:
            calm = now - kept.changed > 4 * kept.dwell
            kept.dwell = DWELL_S if calm else min(MOST_DWELL_S, 2 * kept.dwell)
            kept.mode, kept.cause, kept.changed, kept.rival = best, cause, now, None
        return kept.mode

    def _situation(self, free: list[str], rated: Rated, link: Link, now: float) -> Situation:
        fps = {name: traffic.fps(now) for name, traffic in self.traffic.items()}
        others = fps.keys() - set(free)
        needs = {mode: self._least(free, mode, now) for mode in rated.ways}
        taken = sum(fps[name] * self.cost(self._point(name).mode, self._rated(name)) for name in others)
        ours = sum(fps[name] for name in free)
        busy = {mode: (taken + ours * self.cost(mode, rated)) / 1e3 / self.workers for mode in Mode}
        rate = self._left(link.rate, others, now)
        return Situation(needs, busy, rate, link.down_s, sum(fps.values()), link.answered)

    def _least(self, free: list[str], mode: Mode, now: float) -> float:
        """Bytes a second at the lowest quality of a mode."""
        cameras = self._cameras(dict.fromkeys(free, mode), now)
        return total(cameras, [0] * len(cameras))

    def _forget(self, now: float) -> None:
        """Cameras that are silent, and bundles that code nothing any more: another network costs something else."""
        for name in [name for name, traffic in self.traffic.items() if now - traffic.seen > 10 * _IDLE_S]:
            del self.traffic[name]
            self.points.decided.pop(name, None)
        used = {self._rated(name).bundle.digest for name in ("", *self.traffic)}
        self._costs = {digest: costs for digest, costs in self._costs.items() if digest in used}
        self._kept = {digest: kept for digest, kept in self._kept.items() if digest in used}


def _mean(before: float, new: float) -> float:
    return new if before == 0 else before + _SLOW * (new - before)


def _turned(before: Decided | None, point: Point) -> bool:
    return before is not None and before.point.mode is not point.mode
