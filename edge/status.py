"""How the edge is: the spool, the bundle, health, metrics."""

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from common.problems import SCHEMA
from edge.choosing import current
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
        "pictures": {"kept": stats.pictures, "bytes": stats.picture_bytes, "being_coded": edge.enhancer.waiting},
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


@router.get("/v1/bundle", responses={503: SCHEMA})
async def get_bundle(request: Request) -> dict[str, Any]:
    """The bundle that frames are coded with where no codec was chosen."""
    edge = parts(request)
    bundle = current(edge).bundle
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
        "modes": m.modes,
        "layers": [
            {"name": x.name, "kind": x.kind, "qualities": x.qualities, "default_quality": x.default_quality}
            for x in m.layers
        ],
        "pinned": edge.bundles.pinned,
        "cloud_wants": edge.bundles.wanted or bundle.digest,
    }


def components(edge: Parts) -> dict[str, dict[str, str]]:
    """What each part says of itself. The link never makes an edge unready: that is what the spool is for."""
    out = {
        "intake": {"status": "draining" if edge.intake.draining else "ok"},
        "model": {"status": "ok"},
        "spool": {"status": "failing", "reason": edge.spool.trouble} if edge.spool.trouble else {"status": "ok"},
        "link": {"status": "ok"},
    }
    if edge.codecs.current is None:
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
    goodput = edge.uplink.link().rate if edge.uplink else None
    intake = edge.intake
    text = edge.meter.expose(edge.spool.stats, intake.frames, intake.references.bytes, in_flight, goodput)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
