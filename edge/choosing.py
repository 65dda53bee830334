"""/v1/operating-point over HTTP: each camera's mode, quality and codec and why, what there is, and how to choose."""

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
from edge.codecs import Rated
from edge.encode import Encoder
from edge.parts import Parts, parts
from edge.points import AUTO, CODEC, Auto, Choice, resolved

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
    which is then kept. `codec` is the name of a bundle that the cloud holds, or `auto`: the one it says; mode and
    quality stay with the camera when its codec changes, as far as the new one has them. DELETE takes a choice back.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Annotated[Mode | Auto | None, PlainValidator(_wanted_mode), WithJsonSchema(_MODE_SCHEMA)] = None
    quality: Annotated[int | Auto | None, PlainValidator(_wanted_quality), WithJsonSchema(_QUALITY_SCHEMA)] = None
    codec: Annotated[str, Field(pattern=f"^{CODEC.pattern}$")] | None = None
    camera: Camera | None = None


@router.get("/v1/operating-point", responses={503: SCHEMA})
async def get_operating_point(request: Request) -> dict[str, Any]:
    """What was chosen, what each camera has and why, and the measured points there are to choose from, by mode."""
    return shown(parts(request))


@router.patch("/v1/operating-point", responses={422: SCHEMA, 503: SCHEMA})
async def patch_operating_point(wanted: Wanted, request: Request, camera: Camera | None = None) -> dict[str, Any]:
    """Choose mode, quality and codec of new frames, or `auto`; frames in the spool stay as they are.

    What is chosen survives a restart. The camera may be said in the body or in the query. A codec that is not on the
    edge yet is fetched; until it is there the camera's frames have the current bundle, and `codec_reason` says so.
    """
    edge = parts(request)
    current(edge)
    if camera and wanted.camera and camera != wanted.camera:
        raise FrameError(422, f"the query says camera {camera!r}, the body {wanted.camera!r}: say one")
    camera = camera or wanted.camera
    encoder = await _chosen_encoder(wanted, edge, camera)
    choice = _choice(wanted, edge, camera, encoder)
    if encoder is not None:
        await _prepare(encoder, choice)
    await _kept(edge.points.set, choice, camera)
    edge.bundles.look()
    return shown(edge)


@router.delete("/v1/operating-point", responses={422: SCHEMA, 503: SCHEMA})
async def delete_operating_point(request: Request, camera: Camera | None = None) -> dict[str, Any]:
    """Take a camera's own choice back: it gets what everybody gets. Without a camera: everybody gets the settings'."""
    edge = parts(request)
    current(edge)
    await _kept(edge.points.take_back, camera)
    await edge.codecs.prepare()
    edge.bundles.look()
    return shown(edge)


async def _kept(change: Callable[..., None], *arguments: Any) -> None:
    try:
        await asyncio.to_thread(change, *arguments)
    except ValueError as e:
        raise FrameError(422, str(e)) from e
    except OSError as e:
        raise FrameError(503, f"the choice cannot be kept: {e.strerror or e}; free some of the disk") from e


def current(edge: Parts) -> Encoder:
    """The current bundle's encoder. Raises FrameError 503 while there is none."""
    if edge.codecs.current is None:
        raise FrameError(503, f"no bundle is running yet: {edge.bundles.trouble}")
    return edge.codecs.current


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


def _before(edge: Parts, camera: str | None) -> Choice:
    return edge.points.everybody if camera is None else edge.points.choice(camera)


async def _chosen_encoder(wanted: Wanted, edge: Parts, camera: str | None) -> Encoder | None:
    """Of the codec that the camera has when this is done; None if it is not here. Raises FrameError 422 if the cloud
    does not hold what is wanted.
    """
    codec = wanted.codec or _before(edge, camera).codec
    if wanted.codec not in (None, AUTO) and (why := await edge.bundles.refused(codec)):
        raise FrameError(422, why)
    if (rated := edge.codecs.chosen(codec)) is None:
        return None
    try:
        return await edge.codecs.load(rated.bundle)
    except BundleError as e:
        raise FrameError(422, f"codec {codec} does not work here: {e}") from e


def _choice(wanted: Wanted, edge: Parts, camera: str | None, encoder: Encoder | None) -> Choice:
    """What the request asks for, in full. Raises FrameError 422 if the bundle, as far as it is here, cannot do it."""
    before = _before(edge, camera)
    codec = wanted.codec or before.codec
    if wanted.mode is None and wanted.quality is None:
        if wanted.codec is None:
            raise FrameError(422, "say a mode, a quality, a codec or several: {'mode': 'split', 'quality': 'auto'}")
        return before._replace(codec=codec)
    rated = encoder or current(edge)
    mode = resolved(before, rated.ways).mode if wanted.mode is None else wanted.mode
    quality = AUTO if wanted.quality is None else wanted.quality
    if mode == AUTO and quality != AUTO:
        if wanted.mode == AUTO:
            raise FrameError(422, "with mode auto the quality is the edge's too: choose a mode, or quality auto")
        mode = edge.points.of(camera or "", rated.ways).mode
    choice = Choice(mode if mode == AUTO else Mode(mode), quality, codec)
    if encoder is not None and (why := refused(choice, encoder)):
        raise FrameError(422, why)
    return choice


def refused(choice: Choice, rated: Rated) -> str:
    """Why a bundle cannot do this, and what would help; empty if it can."""
    mode, quality, _ = choice
    if mode == AUTO:
        return ""
    if mode not in rated.ways:
        return f"mode {mode} is none of this bundle's: {', '.join(rated.ways)}; {missing(mode, rated)}"
    if quality != AUTO and quality not in rated.ways[mode].qualities:
        there = described(rated.ways[mode].qualities)
        return f"quality {quality} is none of this bundle's in mode {mode}: {there}, or auto"
    return ""


def missing(mode: Mode, rated: Rated) -> str:
    """What a bundle lacks for a mode."""
    manifest = rated.bundle.manifest
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


def shown(edge: Parts) -> dict[str, Any]:
    """Everybody's point, each camera's that has one of its own or was seen lately, the link, and what there is.

    `modes` are those of everybody's codec. Raises FrameError 503 while there is no bundle.
    """
    points, everybody = edge.points, edge.codecs.of("") or current(edge)
    link = edge.uplink.link() if edge.uplink else None
    return {
        **_shown_point(edge, ""),
        "chosen": points.everybody._asdict(),
        "cameras": {
            name: _shown_point(edge, name) | {"chosen": points.choice(name)._asdict()}
            for name in sorted({*points.cameras, *edge.control.traffic})
        },
        "link": {"bytes_per_second": link.rate if link else None},
        "modes": _shown_modes(everybody),
        "codecs": _shown_codecs(edge),
    }


def _shown_point(edge: Parts, camera: str) -> dict[str, Any]:
    rated = edge.codecs.of(camera) or current(edge)
    manifest = rated.bundle.manifest
    point = edge.points.of(camera, rated.ways)
    return {
        "mode": point.mode,
        "quality": point.quality,
        "expected_agreement": expected_agreement(manifest, point.mode, point.quality),
        "reason": edge.points.cause(camera, rated.ways),
        "codec": manifest.name,
        "codec_reason": edge.codecs.cause(camera),
    }


def _shown_codecs(edge: Parts) -> dict[str, Any]:
    """By name: what may be chosen, as far as the cloud has said it, and what was. `modes` of those in use."""
    codecs, name = edge.codecs, current(edge).bundle.manifest.name
    found: dict[str, Any] = {
        held: {"digest": digest, "state": "available"} for held, digest in edge.bundles.held.items()
    }
    found |= {absent: {"digest": None, "state": why} for absent, why in codecs.absent.items()}
    for used in sorted({name, *codecs.named}):
        if (rated := codecs.chosen(used)) is not None:
            found[used] = {"digest": rated.bundle.digest, "state": "in use", "modes": _shown_modes(rated)}
    return dict(sorted(found.items()))


def _shown_modes(rated: Rated) -> dict[Mode, Any]:
    m = rated.bundle.manifest
    measured = {Mode.SPLIT: m.operating_points, Mode.IMAGE: m.picture_points}
    return {
        mode: {
            "codec": way.name,
            "qualities": listed(way.qualities),
            "default_quality": way.default_quality,
            "points": [point.model_dump() for point in measured.get(mode, ())],
        }
        for mode, way in rated.ways.items()
    }
