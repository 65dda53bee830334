"""/v1/operating-point over HTTP: which mode and quality each camera has and why, what there is, and how to choose."""

import asyncio
from collections.abc import Callable, Collection
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from common.bundle import FRONT_FILE
from common.curve import expected_agreement
from common.errors import BundleError, FrameError
from common.problems import SCHEMA
from common.types import Mode
from edge.encode import Encoder
from edge.parts import Parts, parts
from edge.points import AUTO, Auto, Choice, resolved

router = APIRouter()


def _wanted_mode(said: object) -> object:
    if said is None or said == AUTO:
        return said
    if not isinstance(said, str) or said not in list(Mode):
        raise ValueError(f"a mode is one of {', '.join(Mode)} and auto")
    return Mode(said)


def _wanted_quality(said: object) -> object:
    if said is None or said == AUTO or (type(said) is int and 0 <= said <= 65535):
        return said
    raise ValueError("a quality is a whole number from 0 to 65535, or auto")


_MODE_SCHEMA = {"anyOf": [{"type": "string", "enum": [*Mode, AUTO]}, {"type": "null"}]}
_QUALITY_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": 65535}, {"const": AUTO}, {"type": "null"}],
}
Camera = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Wanted(BaseModel):
    """What new frames are coded as, for one camera or for all that have no choice of their own.

    A mode without a quality: the mode's quality is left to the edge. A quality without a mode: of the mode in use,
    which is then kept. DELETE takes a choice back.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Annotated[Mode | Auto | None, PlainValidator(_wanted_mode), WithJsonSchema(_MODE_SCHEMA)] = None
    quality: Annotated[int | Auto | None, PlainValidator(_wanted_quality), WithJsonSchema(_QUALITY_SCHEMA)] = None
    camera: Camera | None = None


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
    await _prepare(encoder, choice)
    await _kept(edge.points.set, choice, wanted.camera)
    return shown(edge, encoder)


@router.delete("/v1/operating-point", responses={422: SCHEMA, 503: SCHEMA})
async def delete_operating_point(request: Request, camera: Camera | None = None) -> dict[str, Any]:
    """Take a camera's own choice back: it gets what everybody gets. Without a camera: everybody gets the settings'."""
    edge = parts(request)
    encoder = encoder_of(edge)
    await _kept(edge.points.take_back, camera)
    await asyncio.to_thread(encoder.prepare, edge.points.modes())
    return shown(edge, encoder)


async def _kept(change: Callable[..., None], *arguments: Any) -> None:
    try:
        await asyncio.to_thread(change, *arguments)
    except ValueError as e:
        raise FrameError(422, str(e)) from e
    except OSError as e:
        raise FrameError(503, f"the choice cannot be kept: {e.strerror or e}; free some of the disk") from e


def encoder_of(edge: Parts) -> Encoder:
    """The encoder. Raises FrameError 503 while there is none."""
    if edge.intake.encoder is None:
        raise FrameError(503, f"no bundle is running yet: {edge.bundles.trouble}")
    return edge.intake.encoder


def listed(qualities: Collection[int]) -> dict[str, int] | list[int]:
    """The qualities there are, for a program: a range, or each of a few."""
    if isinstance(qualities, range) and qualities.step == 1:
        return {"lowest": qualities[0], "highest": qualities[-1]}
    return list(qualities)


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
    if mode == AUTO and quality != AUTO:
        if wanted.mode == AUTO:
            raise FrameError(422, "with mode auto the quality is the edge's too: choose a mode, or quality auto")
        mode = edge.points.of(wanted.camera or "", encoder.ways).mode
    choice = Choice(mode if mode == AUTO else Mode(mode), quality)
    if why := refused(choice, encoder):
        raise FrameError(422, why)
    return choice


def refused(choice: Choice, encoder: Encoder) -> str:
    """Why a bundle cannot do this, and what would help; empty if it can."""
    mode, quality = choice
    if mode == AUTO:
        return ""
    if mode not in encoder.ways:
        return f"mode {mode} is none of this bundle's: {', '.join(encoder.ways)}; {missing(mode, encoder)}"
    if quality != AUTO and quality not in encoder.ways[mode].qualities:
        there = described(encoder.ways[mode].qualities)
        return f"quality {quality} is none of this bundle's in mode {mode}: {there}, or auto"
    return ""


def missing(mode: Mode, encoder: Encoder) -> str:
    """What a bundle lacks for a mode."""
    manifest = encoder.bundle.manifest
    if mode in manifest.modes:
        return "its files for it do not load, see the log"
    if mode is Mode.EDGE and manifest.back.runtime != "onnx":
        return f"its back half is for {manifest.back.runtime}, which the edge does not run"
    lacking = {Mode.IMAGE: [FRONT_FILE], Mode.EDGE: ["back.onnx"]}.get(mode, [FRONT_FILE, "back.onnx"])
    there = [name for name in lacking if name not in manifest.files or manifest.files[name].side != "both"]
    return f"{' and '.join(there)} must have side both: `midstream bundle build` makes such a bundle"


async def _prepare(encoder: Encoder, choice: Choice) -> None:
    if choice.mode == AUTO:
        await asyncio.to_thread(encoder.prepare, list(Mode))
        return
    try:
        await asyncio.to_thread(encoder.ways[choice.mode].prepare)
    except BundleError as e:
        raise FrameError(422, f"mode {choice.mode} does not work with this bundle: {e}") from e


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
        "qualities": listed(way.qualities),
        "default_quality": way.default_quality,
        "points": [point.model_dump() for point in measured],
    }
