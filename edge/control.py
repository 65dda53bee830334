"""Follows what was measured and decides, once a second, what each camera's frames are coded as (decide.py says how).

Down at once, up slowly: fewer bytes as soon as the link is seen to carry too little, more only after it had room for
UP_S. A mode must have been the better one for SUSTAIN_S, and is then kept for a time that doubles with every change,
so that a situation that two modes make look different does not throw the edge from one to the other for ever.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from common.types import Mode
from edge.decide import AIM, CARRIES, ROOMY, Camera, Situation, allocate, decide, ladder, total
from edge.encode import Encoded, Encoder
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
    """One camera's frames lately: the time between them, their bytes, and how these compare with the curve's."""

    seen: float
    interval: float = 0.0
    scale: float = 1.0
    bytes_mean: dict[Mode, float] = field(default_factory=dict)

    def fps(self, now: float) -> float:
        """Frames a second; falls when none come."""
        return 1 / max(self.interval, now - self.seen) if self.interval else 0.0


@dataclass(slots=True)
class _ModeKept:
    """The mode of the cameras that leave it to the edge, and since when another was the better one."""

    mode: Mode | None = None
    cause: str = "nothing speaks against it"
    changed: float = 0.0
    dwell: float = DWELL_S
    rival: Mode | None = None
    since: float = 0.0


@dataclass(slots=True)
class Control:
    """`saw` every coded frame; `tick` once a second. Fills `points.decided`."""

    points: OperatingPoints
    meter: Meter
    workers: int
    max_cameras: int
    traffic: dict[str, Traffic] = field(default_factory=dict)
    _costs: dict[Mode, float] = field(default_factory=dict)
    _stages: dict[str, float] = field(default_factory=dict)
    _room_since: float | None = None
    _bundle: str = ""
    _kept: _ModeKept = field(default_factory=_ModeKept)

    async def run(self, encoder: Callable[[], Encoder | None], link: Callable[[], Link]) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            if (now_encoder := encoder()) is not None:
                self.tick(now_encoder, link(), time.monotonic())

    # ---- what is measured

    def saw(self, camera: str, encoded: Encoded, encoder: Encoder, now: float) -> None:
        """A frame was coded and accepted."""
        traffic = self.traffic.get(camera)
        if traffic is None:
            if len(self.traffic) >= self.max_cameras:
                return
            self.traffic[camera] = traffic = Traffic(now)
        else:
            traffic.interval = _mean(traffic.interval, min(_IDLE_S, now - traffic.seen))
            traffic.seen = now
        size = len(encoded.container) - encoded.shadow_bytes - encoded.pixels_bytes
        point = encoded.point
        traffic.bytes_mean[point.mode] = _mean(traffic.bytes_mean.get(point.mode, 0.0), size)
        if usual := encoder.curves[point.mode].bytes_mean(point.quality):
            traffic.scale = _mean(traffic.scale, size / usual)
        self._costs[point.mode] = _mean(self._costs.get(point.mode, 0.0), sum(encoded.timing.values()))
        for stage, ms in encoded.timing.items():
            self._stages[stage] = _mean(self._stages.get(stage, 0.0), ms)

    def cost(self, mode: Mode, encoder: Encoder) -> float:
        """Milliseconds a frame takes here in this mode: measured, or else told from the other modes' stages."""
        if mode in self._costs:
            return self._costs[mode]
        cut = encoder.bundle.manifest.cut
        picture, front = self._stages.get("decode_picture", 0.0), self._stages.get("front", 0.0)
        whole = front * (1 + cut.macs_back / cut.macs_front) if cut.macs_front else front
        return picture + {Mode.SPLIT: front, Mode.IMAGE: _JPEG_MS, Mode.EDGE: whole}[mode]

    def spare(self, rate: float | None, encoder: Encoder, now: float) -> float | None:
        """Bytes a second that a link of this rate has room for beside all frames; None: as many as it takes."""
        return self._left(None if rate is None else ROOMY * rate, self.traffic, encoder, now)

    # ---- what is decided

    def tick(self, encoder: Encoder, link: Link, now: float) -> None:
        """Decide anew for every camera."""
        if encoder.bundle.digest != self._bundle:  # another network costs something else
            self._bundle = encoder.bundle.digest
            self._costs.clear()
            self._stages.clear()
        self._forget(now)
        choices = {name: resolved(self.points.choice(name), encoder.ways) for name in self.traffic}
        free = [name for name, choice in choices.items() if choice.mode == AUTO]
        mode = self._mode(free, encoder, link, now) if free else None
        adapting: dict[str, Mode] = {}
        for name, choice in choices.items():
            if choice.mode != AUTO and choice.quality != AUTO:
                self.points.decided.pop(name, None)
            else:
                adapting[name] = mode if choice.mode == AUTO and mode else Mode(choice.mode)
        rate = self._left(link.rate, choices.keys() - adapting.keys(), encoder, now)
        self._qualities(self._cameras(adapting, encoder, now), rate, set(free), now)

    def _cameras(self, modes: Mapping[str, Mode], encoder: Encoder, now: float) -> list[Camera]:
        out = []
        for name, mode in modes.items():
            traffic, way = self.traffic[name], encoder.ways[mode]
            unmeasured = traffic.bytes_mean.get(mode, _USUAL[mode])
            rungs = ladder(mode, encoder.curves[mode], way.default_quality, traffic.scale, unmeasured)
            out.append(Camera(name, traffic.fps(now), rungs))
        return out

    def _left(self, rate: float | None, others: Iterable[str], encoder: Encoder, now: float) -> float | None:
        """Bytes a second that the link carries beside these cameras."""
        if rate is None:
            return None
        for name in others:
            mode = self.points.of(name, encoder.ways).mode
            traffic = self.traffic[name]
            rate -= traffic.fps(now) * traffic.bytes_mean.get(mode, _USUAL[mode])
        return max(0.0, rate)

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
                why = self._kept.cause if camera.name in free and _turned(before, point) else cause
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

    def _mode(self, free: list[str], encoder: Encoder, link: Link, now: float) -> Mode:
        kept = self._kept
        if kept.mode not in encoder.ways:
            kept.mode, kept.changed = next(iter(encoder.ways)), now - DWELL_S
        assert kept.mode is not None
        best, cause = decide(self._situation(free, encoder, link, now), kept.mode)
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

    def _situation(self, free: list[str], encoder: Encoder, link: Link, now: float) -> Situation:
        fps = {name: traffic.fps(now) for name, traffic in self.traffic.items()}
        others = fps.keys() - set(free)
        needs = {mode: self._least(free, mode, encoder, now) for mode in encoder.ways}
        taken = sum(fps[name] * self.cost(self.points.of(name, encoder.ways).mode, encoder) for name in others)
        ours = sum(fps[name] for name in free)
        busy = {mode: (taken + ours * self.cost(mode, encoder)) / 1e3 / self.workers for mode in Mode}
        rate = self._left(link.rate, others, encoder, now)
        return Situation(needs, busy, rate, link.down_s, sum(fps.values()), link.answered)

    def _least(self, free: list[str], mode: Mode, encoder: Encoder, now: float) -> float:
        """Bytes a second at the lowest quality of a mode."""
        cameras = self._cameras(dict.fromkeys(free, mode), encoder, now)
        return total(cameras, [0] * len(cameras))

    def _forget(self, now: float) -> None:
        for name in [name for name, traffic in self.traffic.items() if now - traffic.seen > 10 * _IDLE_S]:
            del self.traffic[name]
            self.points.decided.pop(name, None)


def _mean(before: float, new: float) -> float:
    return new if before == 0 else before + _SLOW * (new - before)


def _turned(before: Decided | None, point: Point) -> bool:
    return before is not None and before.point.mode is not point.mode
