"""POST /v1/frames and what became of them.

A frame passes here some hundred times a second on a small machine, and FastAPI's way to a handler costs as much
as coding the frame's features does. So POST is a bare ASGI endpoint; it is documented like the others.
"""

import asyncio
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from common.errors import FrameError, MidstreamError
from common.problems import SCHEMA
from common.types import Detection
from edge.along import LAYERS
from edge.body import PIXELS, Headers, declared_size, read_body
from edge.ingest import Outcome
from edge.intake import new_shot
from edge.parts import Parts, parts
from edge.problems import mistake, problem, refusal
from edge.spool import Accepted

PATH = "/v1/frames"
MAX_WAIT_SECONDS = 30.0
_CAMERA = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(rb"[\x20-\x7e]{1,128}")
_WAIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|)")

_END_OF_TIME_US = 4_102_444_800_000_000
"""The year 2100. The cloud refuses later frames, and those of 1970-01-01T00:00:00Z, as invalid."""

log = structlog.get_logger(__name__)
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Ask:
    """What the request says beside the picture."""

    camera: str
    captured_us: int | None
    idem_key: str | None
    wait: float
    pixels: str

    @classmethod
    def of(cls, headers: Headers, query: bytes) -> "Ask":
        """Raises FrameError 422 naming the header or parameter."""
        camera, key = headers.get(b"x-camera-id", b"default"), headers.get(b"idempotency-key")
        if not _CAMERA.fullmatch(camera):
            raise FrameError(422, "X-Camera-Id: 1 to 64 letters, digits, dots, dashes and underscores")
        if key is not None and not _KEY.fullmatch(key):
            raise FrameError(422, "Idempotency-Key: 1 to 128 printable ASCII characters")
        captured = headers.get(b"x-capture-time")
        said = parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {}
        return cls(
            camera.decode(),
            instant_us(captured.decode("latin-1")) if captured else None,
            key.decode() if key is not None else None,
            seconds(said["wait"][-1]) if "wait" in said else 0.0,
            pixels_of(said[PIXELS][-1]) if PIXELS in said else "",
        )


def pixels_of(text: str) -> str:
    """Up to which layer the enhancements are to travel along with the frame; empty: none. Raises FrameError 422."""
    if text not in (*LAYERS, "none"):
        said = "'full', to send the picture along with the frame, 'base', to send the least that shows it, or 'none'"
        raise FrameError(422, f"{PIXELS}: {said}")
    return "" if text == "none" else text


def instant_us(text: str) -> int:
    """Microseconds since 1970 of RFC 3339 or Unix seconds. Raises FrameError 422."""
    try:
        stamp = float(text)
    except ValueError:
        stamp = _rfc3339_seconds(text)
    if math.isnan(stamp):
        raise FrameError(422, "X-Capture-Time: RFC 3339 with a time zone (2026-05-01T12:00:00.5Z) or Unix seconds")
    if not 0 < stamp * 1e6 < _END_OF_TIME_US or not (us := round(stamp * 1e6)):
        raise FrameError(422, f"X-Capture-Time: {text[:40]!r} is not between 1970 and 2100; Unix times are in seconds")
    return us


def _rfc3339_seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return moment.timestamp() if moment.tzinfo is not None else math.nan


def seconds(text: str) -> float:
    """Seconds of `5`, `5s` or `500ms`, at most MAX_WAIT_SECONDS. Raises FrameError 422."""
    if not (found := _WAIT.fullmatch(text)):
        raise FrameError(422, f"wait: a duration such as 5s or 500ms, at most {MAX_WAIT_SECONDS:.0f}s")
    return min(MAX_WAIT_SECONDS, float(found[1]) / (1000 if found[2] == "ms" else 1))


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as text."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class PostFrame:
    """The ASGI endpoint: take one picture. 202 means it is coded and on disk, and will reach the cloud."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, whatever happens."""
        try:
            response = await self._post(scope["app"].state.parts, scope, receive)
        except MidstreamError as e:
            response = refusal(e)
        except Exception:
            log.exception("a frame was not taken by mistake")
            response = mistake()
        await response(scope, receive, send)

    async def _post(self, edge: Parts, scope: Scope, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        ask, limit = Ask.of(headers, scope["query_string"]), edge.settings.max_body_bytes
        expected: asyncio.Future[Outcome] | None = None
        try:
            with edge.intake.room(declared_size(headers, limit)):
                body = await read_body(scope, receive, headers, limit)
                pixels = ask.pixels if body.pixels is None else pixels_of(body.pixels)
                shot = new_shot(ask.camera, body.picture, ask.captured_us, ask.idem_key, pixels)
                if ask.wait and edge.uplink:
                    expected = edge.uplink.expect(shot.frame_id)
                accepted = await edge.intake.take(shot)
                del body, shot  # on disk: not needed in memory while somebody waits
            outcome = await _outcome(expected, ask.wait) if expected and not accepted.replay else None
        finally:
            if expected is not None:
                expected.cancel()
        return _answer(accepted, outcome)


post_frame = PostFrame()


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
    if accepted.pixels:
        body["pixels"] = accepted.pixels
    headers = {"Location": f"{PATH}/{accepted.frame_id}"}
    if accepted.replay:
        headers["Idempotent-Replay"] = "true"
    if outcome is None:
        return Response(json.dumps(body), 202, headers, "application/json")
    if outcome.refusal:
        detail = f"the frame was taken, but the cloud has no result for it: {outcome.refusal}"
        return problem(502, detail, headers=headers, id=accepted.frame_id)
    body["detections"] = [_detection(d) for d in outcome.detections]
    return Response(json.dumps(body), 200, headers, "application/json")


def _detection(found: Detection) -> dict[str, Any]:
    # They were float32 on the wire: more digits than these are noise.
    return {"label": found.label, "score": round(found.score, 4), "box": [round(side, 2) for side in found.box]}


@router.get(f"{PATH}/{{frame_id}}", responses={404: SCHEMA})
async def get_frame(frame_id: str, request: Request) -> dict[str, Any]:
    """The ledger's line: queued, done, expired, dropped or failed, and why."""
    edge = parts(request)
    record = await edge.spool.record(frame_id)
    if record is None:
        keeps = edge.settings.ledger_max_rows
        raise FrameError(404, f"no frame {frame_id[:64]!r} in the ledger; it keeps {keeps} frames")
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
        "pixels": record.pixels or "not asked for",
    }


def _parameter(place: str, name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "description": description, "schema": {"type": "string", **schema}}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PIXELS = (
    "`full`: the picture, coded as an enhancement, is to travel along with the frame; `base`: the least of its layers "
    "that shows it, nothing where the frame's own bytes do. The answer's and the ledger's "
    "`pixels` says `sent`, or why not: `shed: …` when the link or the edge has too much to do, `failed: …`, "
    "`none: …` where the bundle has no picture layers. The frame itself is taken in any case, and what was not sent "
    "can be asked for later."
)
_ACCEPTED = {
    "content": {
        "application/json": {
            "example": {
                "id": "01970d5c-9a4e-7b6f-8f3e-2d1c0b9a8f7e",
                "camera": "default",
                "seq": 1,
                "accepted_at": "2026-05-01T12:00:00.500000Z",
                "bytes": {"coded": 1796, "source": 86455},
                "timing": {"decode_picture": 1.0, "front": 4.9, "code": 0.1, "spool": 0.6},
                "pixels": "sent",
            }
        }
    }
}
DOCS: dict[str, Any] = {
    "tags": ["frames"],
    "summary": "Post Frame",
    "description": "Take one picture. 202 means it is coded and on disk, and will reach the cloud.",
    "operationId": "post_frame",
    "parameters": [
        _parameter("header", "X-Camera-Id", "`default` if missing.", pattern=f"^{_CAMERA.pattern.decode()}$"),
        _parameter("header", "X-Capture-Time", "RFC 3339 or Unix seconds, from 1970 to 2100; now if missing."),
        _parameter(
            "header",
            "Idempotency-Key",
            "Unique per camera. A repeat with the same picture gets the first answer's id.",
            maxLength=128,
        ),
        _parameter("query", "wait", "Answer 200 with the detections if they come within this time.", example="5s"),
        _parameter("query", PIXELS, _PIXELS, enum=[*LAYERS, "none"], default="none"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "image/webp": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        PIXELS: {"type": "string", "enum": [*LAYERS, "none"], "description": "As the parameter."},
                    },
                }
            },
        },
    },
    "responses": {
        "202": {
            "description": "On disk; the result is on its way. Location says where to ask. `pixels` only if asked for.",
            **_ACCEPTED,
        },
        "200": {"description": "The same with `detections`, because they came within `wait`.", **_ACCEPTED},
        **dict.fromkeys(("400", "408", "413", "415", "422", "429", "502", "503"), SCHEMA),
    },
}
"""OpenAPI's operation."""
