"""How the edge is: the spool, the operating point, the bundle, health, metrics."""

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from common.errors import FrameError
from common.problems import SCHEMA
from edge.encode import Encoder
from edge.parts import Parts, parts
from edge.spool import now_us

router = APIRouter()


@router.get("/v1/spool")
async def get_spool(request: Request) -> dict[str, Any]:
    """What waits, what is kept, what ended how, and the bounds."""
    edge = parts(request)
    stats, s = edge.spool.stats, edge.settings
    return {
        "epoch": edge.spool.epoch,
        "trouble": edge.spool.trouble,
        "frames": {
            "queued": stats.queued,
            "bytes": stats.queued_bytes,
            "bytes_charged": stats.charged,
            "oldest_age_seconds": round((now_us() - stats.oldest_us) / 1e6, 3) if stats.oldest_us else 0,
            "in_flight": len(edge.uplink.state.in_flight) if edge.uplink else 0,
            "being_coded": edge.intake.frames,
        },
        "pictures": {"kept": stats.pictures, "bytes": stats.picture_bytes},
        "ledger": {
            "rows": stats.ledger,
            "ended": [{"state": st, "reason": why, "frames": n} for (st, why), n in sorted(stats.ended.items())],
        },
        "limits": {
            "bytes": s.spool_max_bytes,
            "age_seconds": s.spool_max_age_s,
            "picture_bytes": s.ring_max_bytes,
            "picture_age_seconds": s.ring_max_age_s,
            "ledger_rows": s.ledger_max_rows,
        },
    }


class OperatingPoint(BaseModel):
    """Which quality frames are coded with from now on, for one camera or for all that have none of their own."""

    model_config = ConfigDict(extra="forbid")

    quality: int = Field(ge=0, le=65535)
    camera: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")


@router.get("/v1/operating-point", responses={503: SCHEMA})
async def get_operating_point(request: Request) -> dict[str, Any]:
    """The choice, and the measured points there are to choose from."""
    edge = parts(request)
    return _operating_point(edge, _encoder(edge))


@router.patch("/v1/operating-point", responses={422: SCHEMA, 503: SCHEMA})
async def patch_operating_point(choice: OperatingPoint, request: Request) -> dict[str, Any]:
    """Choose the quality of new frames; frames in the spool stay as they are."""
    edge = parts(request)
    encoder = _encoder(edge)
    if choice.quality not in encoder.qualities:
        raise FrameError(422, f"quality {choice.quality} is none of this bundle's: {described(encoder.qualities)}")
    try:
        edge.points.set(choice.quality, choice.camera)
    except ValueError as e:
        raise FrameError(422, str(e)) from e
    return _operating_point(edge, encoder)


def described(qualities: Collection[int]) -> str:
    """The qualities there are, for a message."""
    if isinstance(qualities, range):
        return f"{qualities[0]} to {qualities[-1]}"
    return ", ".join(map(str, qualities))


def _operating_point(edge: Parts, encoder: Encoder) -> dict[str, Any]:
    return {
        "quality": edge.points.of("", encoder),
        "cameras": {camera: edge.points.of(camera, encoder) for camera in edge.points.cameras},
        "points": [p.model_dump() for p in encoder.bundle.manifest.operating_points],
    }


@router.get("/v1/bundle", responses={503: SCHEMA})
async def get_bundle(request: Request) -> dict[str, Any]:
    """The bundle new frames are coded with."""
    edge = parts(request)
    bundle = _encoder(edge).bundle
    m = bundle.manifest
    return {
        "digest": bundle.digest,
        "name": m.name,
        "version": m.version,
        "detector": m.detector.name,
        "labels": m.detector.labels,
        "input": m.input.model_dump(),
        "cut": m.cut.model_dump(),
        "codec": m.codec.get("name"),
        "operating_points": [p.model_dump() for p in m.operating_points],
        "pinned": edge.bundles.pinned,
        "cloud_wants": edge.bundles.wanted or bundle.digest,
    }


def _encoder(edge: Parts) -> Encoder:
    if edge.intake.encoder is None:
        raise FrameError(503, f"no bundle is running yet: {edge.bundles.trouble}")
    return edge.intake.encoder


def components(edge: Parts) -> dict[str, dict[str, str]]:
    """What each part says of itself. The link never makes an edge unready: that is what the spool is for."""
    out = {
        "intake": {"status": "draining" if edge.intake.draining else "ok"},
        "model": {"status": "ok"},
        "spool": {"status": "failing", "reason": edge.spool.trouble} if edge.spool.trouble else {"status": "ok"},
        "link": {"status": "ok"},
    }
    if edge.intake.encoder is None:
        out["model"] = {"status": "waiting", "reason": edge.bundles.trouble}
    if edge.uplink is None:
        out["link"] = {"status": "degraded", "reason": "this edge was given no cloud"}
    elif not edge.uplink.state.up:
        out["link"] = {"status": "degraded", "reason": edge.uplink.state.trouble}
    return out


@router.get("/livez")
@router.get("/v2/health/live", include_in_schema=False)
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Frames would be answered 503."}})
@router.get("/healthz", responses={503: {"description": "Frames would be answered 503."}})
@router.get("/v2/health/ready", include_in_schema=False)
async def readyz(request: Request) -> JSONResponse:
    """A model is loaded and the spool takes frames."""
    found = components(parts(request))
    states = {part["status"] for part in found.values()}
    ready = states <= {"ok", "degraded"}
    status = "ok" if states == {"ok"} else "degraded" if ready else "not ready"
    return JSONResponse({"status": status, "components": found}, 200 if ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus."""
    edge = parts(request)
    in_flight = len(edge.uplink.state.in_flight) if edge.uplink else 0
    text = edge.meter.expose(edge.spool.stats, edge.intake.frames, in_flight)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
