"""POST /v1/frames and what became of them."""

import asyncio
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from common.errors import FrameError
from edge import problems
from edge.body import declared_size, read_picture
from edge.intake import new_shot
from edge.parts import Parts, parts
from edge.spool import Accepted
from edge.uplink import Outcome

MAX_WAIT_SECONDS = 30.0
_CAMERA = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[\x20-\x7e]{1,128}")
_WAIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|)")

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Ask:
    """What the request says beside the picture."""

    camera: str
    captured_us: int | None
    idem_key: str | None
    wait: float

    @classmethod
    def of(cls, request: Request) -> "Ask":
        """Raises FrameError 422 naming the header or parameter."""
        headers = request.headers
        camera, key = headers.get("x-camera-id", "default"), headers.get("idempotency-key")
        if not _CAMERA.fullmatch(camera):
            raise FrameError(422, "X-Camera-Id: 1 to 64 letters, digits, dots, dashes and underscores")
        if key is not None and not _KEY.fullmatch(key):
            raise FrameError(422, "Idempotency-Key: 1 to 128 printable ASCII characters")
        captured, wait = headers.get("x-capture-time"), request.query_params.get("wait")
        return cls(camera, instant_us(captured) if captured else None, key, seconds(wait) if wait else 0.0)


def instant_us(text: str) -> int:
    """Microseconds since 1970 of RFC 3339 or Unix seconds. Raises FrameError 422."""
    try:
        stamp = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        stamp = moment.timestamp() if moment is not None and moment.tzinfo is not None else math.nan
    if not 0 <= stamp < 253402300800:  # the year 10000; NaN is no time either
        raise FrameError(422, "X-Capture-Time: RFC 3339 with a time zone (2026-05-01T12:00:00.5Z) or Unix seconds")
    return round(stamp * 1e6)


def seconds(text: str) -> float:
    """Seconds of `5`, `5s` or `500ms`, at most MAX_WAIT_SECONDS. Raises FrameError 422."""
    if not (found := _WAIT.fullmatch(text)):
        raise FrameError(422, f"wait: a duration such as 5s or 500ms, at most {MAX_WAIT_SECONDS:.0f}s")
    return min(MAX_WAIT_SECONDS, float(found[1]) / (1000 if found[2] == "ms" else 1))


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as text."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_POST_DOCS: dict[str, Any] = {
    "parameters": [
        {"name": "X-Camera-Id", "in": "header", "schema": {"type": "string", "pattern": f"^{_CAMERA.pattern}$"}},
        {
            "name": "X-Capture-Time",
            "in": "header",
            "schema": {"type": "string"},
            "description": "RFC 3339, Unix seconds",
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": 128},
            "description": "Unique per camera. A repeat with the same picture gets the first answer's id.",
        },
        {
            "name": "wait",
            "in": "query",
            "schema": {"type": "string", "example": "5s"},
            "description": "Answer 200 with the detections if they come within this time.",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            **{f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("jpeg", "png", "webp")},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
        },
    },
}


@router.post(
    "/v1/frames",
    status_code=202,
    openapi_extra=_POST_DOCS,
    responses={
        202: {"description": "On disk; the result is on its way. Location says where to ask."},
        200: {"description": "The same with `detections`, because they came within `wait`."},
        **dict.fromkeys((400, 408, 413, 415, 422, 429, 502, 503), problems.SCHEMA),
    },
)
async def post_frame(request: Request) -> Response:
    """Take one picture. 202 means it is coded and on disk, and will reach the cloud."""
    edge, ask = parts(request), Ask.of(request)
    limit = edge.settings.max_body_bytes
    expected: asyncio.Future[Outcome] | None = None
    try:
        with edge.intake.room(declared_size(request, limit)):
            shot = new_shot(ask.camera, await read_picture(request, limit), ask.captured_us, ask.idem_key)
            if ask.wait and edge.uplink:
                expected = edge.uplink.expect(shot.frame_id)
            accepted = await edge.intake.take(shot)
            del shot  # the picture is on disk: not needed in memory while somebody waits
        outcome = await _outcome(expected, ask.wait) if expected and not accepted.replay else None
    finally:
        if expected is not None:
            expected.cancel()
    return _answer(accepted, outcome)


async def _outcome(expected: "asyncio.Future[Outcome]", wait: float) -> Outcome | None:
    done, _ = await asyncio.wait([expected], timeout=wait)
    return expected.result() if done else None


def _answer(accepted: Accepted, outcome: Outcome | None) -> Response:
    body: dict[str, Any] = {
        "id": accepted.frame_id,
        "camera": accepted.camera,
        "seq": accepted.seq,
        "accepted_at": rfc3339(accepted.accepted_us),
        "bytes": {"coded": accepted.coded_bytes, "source": accepted.source_bytes},
        "timing": accepted.timing,
    }
    headers = {"Location": f"/v1/frames/{accepted.frame_id}"}
    if accepted.replay:
        headers["Idempotent-Replay"] = "true"
    if outcome is None:
        return Response(json.dumps(body), 202, headers, "application/json")
    if outcome.refusal:
        detail = f"the frame was taken, but the cloud has no result for it: {outcome.refusal}"
        return problems.problem(502, detail, headers=headers, id=accepted.frame_id)
    body["detections"] = [{"label": d.label, "score": d.score, "box": d.box} for d in outcome.detections]
    return Response(json.dumps(body), 200, headers, "application/json")


@router.get("/v1/frames/{frame_id}", responses={404: problems.SCHEMA})
async def get_frame(frame_id: str, request: Request) -> dict[str, Any]:
    """The ledger's line: queued, done, expired, dropped or failed, and why."""
    edge: Parts = parts(request)
    record = await edge.spool.record(frame_id)
    if record is None:
        raise FrameError(
            404, f"no frame {frame_id[:64]!r} in the ledger; it keeps {edge.settings.ledger_max_rows} frames"
        )
    return {
        "id": record.frame_id,
        "camera": record.camera,
        "seq": record.seq,
        "state": record.state,
        "reason": record.reason,
        "captured_at": rfc3339(record.captured_us),
        "accepted_at": rfc3339(record.accepted_us),
        "finished_at": rfc3339(record.finished_us) if record.finished_us is not None else None,
        "bytes": {"coded": record.coded_bytes, "source": record.source_bytes},
        "timing": record.timing,
        "picture": record.picture,
    }
