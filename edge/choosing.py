"""/v1/operating-point over HTTP: which mode and quality each camera has and why, what there is, and how to choose."""

import asyncio
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from common.curve import expected_agreement
from common.errors import BundleError, FrameError
from common.problems import SCHEMA
from common.types import Mode
from edge.encode import Encoder
from edge.parts import Parts, parts
from edge.points import AUTO, Auto, Choice, resolved

router = APIRouter()


class Wanted(BaseModel):
    """What new frames are coded as, for one camera or for all that have no choice of their own.

    A mode without a quality: the mode's quality is left to the edge. A quality without a mode: of the mode in use.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Mode | Auto | None = None
    quality: Annotated[int, Field(ge=0, le=65535)] | Auto | None = None
    camera: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")


@router.get("/v1/operating-point", responses={503: SCHEMA})
async def get_operating_point(request: Request) -> dict[str, Any]:
    """What was chosen, what each camera has and why, and the measured points there are to choose from, by mode."""
    edge = parts(request)
    return shown(edge, encoder_of(edge))


@router.patch("/v1/operating-point", responses={422: SCHEMA, 503: SCHEMA})
async def patch_operating_point(wanted: Wanted, request: Request) -> dict[str, Any]:
    """Choose mode and quality of new frames, or `auto`; frames in the spool stay as they are. Survives a restart."""
    edge = parts(request)
    encoder = encoder_of(edge)
    choice = _choice(wanted, edge, encoder)
    if choice.mode != AUTO:
        await _prepare(encoder, choice.mode)
    try:
        await asyncio.to_thread(edge.points.set, choice, wanted.camera)
    except ValueError as e:
        raise FrameError(422, str(e)) from e
    except OSError as e:
        raise FrameError(503, f"the choice cannot be kept: {e.strerror or e}; free some of the disk") from e
    return shown(edge, encoder)


def encoder_of(edge: Parts) -> Encoder:
    """The encoder. Raises FrameError 503 while there is none."""
    if edge.intake.encoder is None:
        raise FrameError(503, f"no bundle is running yet: {edge.bundles.trouble}")
    return edge.intake.encoder


def described(qualities: Collection[int]) -> str:
    """The qualities there are, for a message."""
    if isinstance(qualities, range) and len(qualities) > 1:
        return f"{qualities[0]} to {qualities[-1]}"
    return ", ".join(map(str, qualities))


def _choice(wanted: Wanted, edge: Parts, encoder: Encoder) -> Choice:
    """What the request asks for, in full. Raises FrameError 422 if the bundle cannot do it."""
    if wanted.mode is None and wanted.quality is None:
        raise FrameError(422, "say a mode, a quality or both: {'mode': 'split', 'quality': 'auto'}")
    before = edge.points.everybody if wanted.camera is None else edge.points.choice(wanted.camera)
    mode = resolved(before, encoder.ways).mode if wanted.mode is None else wanted.mode
    quality = AUTO if wanted.quality is None else wanted.quality
    if mode == AUTO:
        if quality != AUTO:
            raise FrameError(422, "with mode auto the quality is the edge's too: choose a mode, or quality auto")
        return Choice(AUTO, AUTO)
    mode = Mode(mode)
    if mode not in encoder.ways:
        there = ", ".join(encoder.ways)
        raise FrameError(422, f"mode {mode} is none of this bundle's: {there}; its files for the other are not here")
    if quality != AUTO and quality not in encoder.ways[mode].qualities:
        there = described(encoder.ways[mode].qualities)
        raise FrameError(422, f"quality {quality} is none of this bundle's in mode {mode}: {there}, or auto")
    return Choice(mode, quality)


async def _prepare(encoder: Encoder, mode: Mode) -> None:
    try:
        await asyncio.to_thread(encoder.ways[mode].prepare)
    except BundleError as e:
        raise FrameError(422, f"mode {mode} does not work with this bundle: {e}") from e


def shown(edge: Parts, encoder: Encoder) -> dict[str, Any]:
    """Everybody's point, each camera's that has one of its own or was seen lately, the link, and what there is."""
    points = edge.points
    link = edge.uplink.link() if edge.uplink else None
    return {
        **_shown_point(edge, encoder, ""),
        "chosen": points.everybody._asdict(),
        "cameras": {
            name: _shown_point(edge, encoder, name) | {"chosen": points.choice(name)._asdict()}
            for name in sorted({*points.cameras, *edge.control.traffic})
        },
        "link": {"bytes_per_second": link.rate if link else None},
        "modes": {mode: _shown_mode(encoder, mode) for mode in encoder.ways},
    }


def _shown_point(edge: Parts, encoder: Encoder, camera: str) -> dict[str, Any]:
    point = edge.points.of(camera, encoder.ways)
    return {
        "mode": point.mode,
        "quality": point.quality,
        "expected_agreement": expected_agreement(encoder.bundle.manifest, point.mode, point.quality),
        "reason": edge.points.cause(camera, encoder.ways),
    }


def _shown_mode(encoder: Encoder, mode: Mode) -> dict[str, Any]:
    way, m = encoder.ways[mode], encoder.bundle.manifest
    measured = {Mode.SPLIT: m.operating_points, Mode.IMAGE: m.picture_points}.get(mode, ())
    return {
        "codec": way.name,
        "qualities": described(way.qualities),
        "default_quality": way.default_quality,
        "points": [point.model_dump() for point in measured],
    }
