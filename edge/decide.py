"""What to code, decided from measured numbers alone: which mode, and which quality for each camera. Nothing is
measured or changed here, so a decision can be asked for any situation.

**Mode**, where it is left to the edge. The first line that holds:

| the situation                                                        | mode  |
|----------------------------------------------------------------------|-------|
| the link cannot carry features even at the lowest quality, and the   | edge  |
| edge has time for the whole network; or the link is down             |       |
| the edge has no time for the front half, and the link carries        | image |
| pictures                                                             |       |
| the cloud answers slower than frames come, and the edge has time     | edge  |
| the whole network costs the edge no more than coding does, and the   | edge  |
| edge has time                                                        |       |
| otherwise                                                            | split |

"Carries" is at most CARRIES of what the link was seen to carry for the mode that is in use, and ROOMY of it for
another; "has time" likewise: so that a mode just left is not at once the better one again.

**Quality**: from the bundle's measured curve, at most the bundle's own default; more bytes buy little there. While all
cameras together need more than may be sent, the step down is taken that loses the least agreement for the bytes a
second it saves; a camera's bytes a second are its frame rate times the curve, scaled to what its frames really have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.curve import Curve
from common.types import Mode
from edge.points import Point

CARRIES, ROOMY = 0.95, 0.75
"""Shares of the link: above the first it is too little, below the second there is room for more."""
AIM = 0.85
"""Share of the link that a step down aims at: the rest drains what has piled up."""
BUSY, SPARE = 0.9, 0.6
"""Shares of the encoders' time, likewise."""
DOWN_S = 30.0
"""A link that has been down for so long is no longer counted on."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What was measured, of all cameras whose mode is left to the edge together; the modes are those there are."""

    needs: Mapping[Mode, float]
    """Bytes a second in each mode; of features at the lowest quality."""
    busy: Mapping[Mode, float]
    """Share of the encoders' time in each mode: frames a second times seconds a frame, over the number of encoders."""
    link: float | None
    """Bytes a second the link carries; None if it was never the limit."""
    down_s: float = 0.0
    """How long the link has been down, seconds."""
    frames: float = 0.0
    """Frames a second that come."""
    answered: float | None = None
    """Frames a second the cloud can answer: its window over the time a frame is in flight; None if unknown."""


def decide(s: Situation, current: Mode) -> tuple[Mode, str]:
    """The mode, and why."""

    def carries(mode: Mode) -> bool:
        share = CARRIES if mode is current else ROOMY
        return s.link is None or s.needs[mode] <= share * s.link

    def time_for(mode: Mode) -> bool:
        return s.busy[mode] <= (BUSY if mode is current else SPARE)

    def behind() -> bool:
        return s.answered is not None and s.answered < s.frames * (1.0 if current is Mode.EDGE else CARRIES)

    rules: tuple[tuple[Mode, Callable[[], bool], str], ...] = (
        (Mode.EDGE, lambda: s.down_s > DOWN_S and time_for(Mode.EDGE), "the link is down"),
        (Mode.EDGE, lambda: not carries(Mode.SPLIT) and time_for(Mode.EDGE), "the link cannot carry features"),
        (
            Mode.IMAGE,
            lambda: not time_for(Mode.SPLIT) and carries(Mode.IMAGE),
            "the edge has no time for the front half",
        ),
        (Mode.EDGE, lambda: behind() and time_for(Mode.EDGE), "the cloud answers slower than frames come"),
        (
            Mode.EDGE,
            lambda: s.busy[Mode.EDGE] <= s.busy[Mode.SPLIT] and time_for(Mode.EDGE),
            "the whole network costs the edge no more than coding",
        ),
    )
    for mode, holds, why in rules:
        if {mode, Mode.SPLIT} <= s.needs.keys() and holds():
            return mode, why
    return (Mode.SPLIT if Mode.SPLIT in s.needs else next(iter(s.needs))), "nothing speaks against it"


@dataclass(frozen=True, slots=True)
class Rung:
    """A point that a camera may take: bytes of a frame and the agreement expected."""

    point: Point
    bytes: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera whose quality is left to the edge: frames a second, and its rungs from the cheapest to the best."""

    name: str
    fps: float
    rungs: Sequence[Rung]

    def need(self, rung: int) -> float:
        """Bytes a second on this rung."""
        return self.fps * self.rungs[rung].bytes


def ladder(mode: Mode, curve: Curve, ceiling: int, scale: float = 1.0, unmeasured: float = 0.0) -> list[Rung]:
    """The points of a curve up to `ceiling`, without those that cost more than a better one.

    Bytes are the curve's times `scale`. Where it says nothing of the ceiling, there is one rung of `unmeasured` bytes.
    """
    if (top := curve.bytes_mean(ceiling)) is None:
        return [Rung(Point(mode, ceiling), unmeasured, 0.0)]
    qualities = [quality for quality in curve.qualities if quality < ceiling]
    rungs = [
        Rung(Point(mode, quality), scale * (curve.bytes_mean(quality) or 0), curve.agreement(quality) or 0)
        for quality in qualities
    ]
    kept = [Rung(Point(mode, ceiling), scale * top, curve.agreement(ceiling) or 0)]
    for rung in reversed(rungs):
        if rung.bytes < kept[-1].bytes and (rung.agreement < kept[-1].agreement or kept[-1].point.quality == ceiling):
            kept.append(rung)
    return kept[::-1]


def allocate(cameras: Sequence[Camera], budget: float | None, highest: Sequence[int] | None = None) -> list[int]:
    """The rung of each camera, none above `highest` (default: the top): together they need at most `budget` bytes a
    second, or as little as they can.
    """
    rungs = [len(camera.rungs) - 1 for camera in cameras] if highest is None else list(highest)
    if budget is None:
        return rungs
    while total(cameras, rungs) > budget and any(rungs):
        lower = min((i for i, rung in enumerate(rungs) if rung), key=lambda i: _loss(cameras[i], rungs[i]))
        rungs[lower] -= 1
    return rungs


def total(cameras: Sequence[Camera], rungs: Sequence[int]) -> float:
    """Bytes a second of all cameras."""
    return sum(camera.need(rung) for camera, rung in zip(cameras, rungs, strict=True))


def _loss(camera: Camera, rung: int) -> float:
    """Agreement lost for each byte a second saved by one step down. A camera that is silent saves nothing."""
    saved = camera.need(rung) - camera.need(rung - 1)
    lost = camera.rungs[rung].agreement - camera.rungs[rung - 1].agreement
    return lost / saved if saved > 0 else float("inf")
