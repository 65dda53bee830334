"""Measuring: one codec at one quality over all clips of a kind of camera is a row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.bd import Curve
from bench.rd.metrics import LEAST_SIDE, MsSsim, psnr
from bench.score import Matches, sure
from bench.video.clips import MOVING, STATIC, Clip
from bench.video.ways import Coded, Way
from common.geometry import Detections

TARGETS = (0.90, 0.95)
"""Agreements at which codecs are compared."""
ENOUGH = 0.985
"""A ladder ends here: beyond, nobody could tell the difference."""


@dataclass(frozen=True)
class Row:
    """One codec at one quality. PSNR and MS-SSIM are those of the picture at the network's size, where there is one."""

    codec: str
    quality: int
    camera: str
    """Of the clips: `static` or `moving`."""
    bytes_per_frame: float
    agreement_ap50: float
    psnr: float | None
    ms_ssim: float | None
    clips: int
    frames: int

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True)
class _Through:
    """A clip through a codec at a quality."""

    clip: Clip
    sizes: list[int]
    found: list[Detections]
    psnr: list[float]
    ms_ssim: list[float]


def measured(clips: Sequence[Clip], way: Way, tick: Callable[[], None] = lambda: None) -> Iterator[Row]:
    """The rows of a codec from coarse to fine, until every kind of camera has had enough."""
    for quality in way.ladder:
        coded = []
        for clip in clips:
            coded.append(through(clip, way.code(clip.scene, quality)))
            tick()
        rows = [row for camera in (STATIC, MOVING) if (row := _row(way, quality, camera, coded))]
        yield from rows
        if min(row.agreement_ap50 for row in rows) > ENOUGH:
            return


def through(clip: Clip, coded: Sequence[Coded]) -> _Through:
    """What the network finds in each frame, and how its picture looks."""
    scene = clip.scene
    found = [scene.split.finish(c.features, shot.picture) for c, shot in zip(coded, scene.shots, strict=True)]
    shown = [(scene.at_network_size(i), c.picture) for i, c in enumerate(coded) if c.picture is not None]
    alike = [MsSsim(original).to(seen) for original, seen in shown if min(original.shape[:2]) >= LEAST_SIDE]
    return _Through(clip, [c.bytes for c in coded], found, [psnr(*pair) for pair in shown], alike)


def _row(way: Way, quality: int, camera: str, coded: Sequence[_Through]) -> Row | None:
    mine = [one for one in coded if one.clip.camera == camera]
    if not mine:
        return None
    uncoded = [sure(found) for one in mine for found in one.clip.scene.uncoded]
    agreed = Matches(uncoded, [found for one in mine for found in one.found], mine[0].clip.scene.classes)
    sizes = [size for one in mine for size in one.sizes]
    decibels, alike = [x for one in mine for x in one.psnr], [x for one in mine for x in one.ms_ssim]
    return Row(
        codec=way.name,
        quality=quality,
        camera=camera,
        bytes_per_frame=float(np.mean(sizes)),
        agreement_ap50=float(agreed.average_precision()[0]),
        psnr=float(np.mean(decibels)) if decibels else None,
        ms_ssim=float(np.mean(alike)) if alike else None,
        clips=len(mine),
        frames=len(sizes),
    )


def bytes_at(rows: Sequence[Row], codec: str, camera: str, target: float) -> float | None:
    """Bytes a frame of a codec at an agreement; None where its rows do not reach it or begin above it."""
    own = [row for row in rows if (row.codec, row.camera) == (codec, camera)]
    return Curve((row.bytes_per_frame, row.agreement_ap50) for row in own).rate_at(target) if own else None
