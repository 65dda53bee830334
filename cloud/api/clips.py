"""/v1/cameras/{camera}/clip: the frames of a camera as a video."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import AwareDatetime

from cloud.api.images import LayerName, Wait, refused, seconds
from cloud.api.problems import invalid, unavailable
from cloud.api.query import KNOWN_ONLY
from cloud.api.results import json_response
from cloud.api.shapes import EPOCH
from cloud.clips import Busy, Clip, Clips, Making, Wanted
from cloud.layers import Unavailable
from cloud.replies import Refusal
from cloud.store import to_json
from common.layers import NAMES

FRAMES = "Midstream-Frames"
_RETRY_SECONDS = 1
_BUSY_RETRY_SECONDS = 5
_OFFLINE_RETRY_SECONDS = 10
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"video/mp4": {}},
        "headers": {
            FRAMES: {
                "description": "frames in the clip / frames there are; the edge has no pictures of the others any more",
                "schema": {"type": "string"},
            }
        },
    },
    202: {"description": "pictures are on their way: `here` of `of` are in the clip; come again"},
    206: {"description": "the part that Range names"},
    404: {"description": "no frame in this time, or no such layer"},
    410: {"description": "the edge has none of the pictures any more"},
    422: {"description": "a parameter is invalid, or there are too many frames"},
    503: {"description": "the edge is not connected, or another clip is being made; come again"},
}

Camera = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Edge = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]+$", description="whose camera it is")]
Since = Annotated[AwareDatetime, Query(description="captured at or after, RFC 3339")]
Until = Annotated[AwareDatetime, Query(description="captured before, RFC 3339")]
Fps = Annotated[float | None, Query(gt=0, le=60, description="at most so many frames a second; else all")]
Boxes = Annotated[bool, Query(description="draw what was found, with its tracks")]


def router(clips: Clips) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["pixels"])

    @routes.get("/v1/cameras/{camera}/clip", response_class=Response, dependencies=[KNOWN_ONLY], responses=ANSWERS)
    async def clip(
        camera: Camera,
        since: Since,
        until: Until,
        edge: Edge = None,
        layer: LayerName = "full",
        fps: Fps = None,
        boxes: Boxes = False,
        wait: Wait = "0",
    ) -> Response:
        """The frames of a camera as a video, each shown when and as long as it was the newest: MP4 with VP9.

        Pictures that are not here are fetched from the edge: 202 until they are. Those it has no more are left out.
        """
        if since >= until:
            raise invalid("until", "must be later than since")
        if layer not in NAMES:
            raise invalid("layer", f"there is no {layer[:32]}; there are {', '.join(NAMES)}")
        since_us, until_us = ((time - EPOCH) // timedelta(microseconds=1) for time in (since, until))
        wanted = Wanted(camera, edge, since_us, until_us, layer, fps, boxes)
        return _response(await clips.want(wanted, seconds(wait)), wanted)

    return routes


def _response(answer: Clip | Making | Busy | Refusal | Unavailable, wanted: Wanted) -> Response:
    match answer:
        case Clip():
            return _file(answer, wanted)
        case Making():
            return _pending(answer)
        case Busy():
            raise unavailable("clip-busy", "Another clip is being made; one at a time.", _BUSY_RETRY_SECONDS)
        case Unavailable():
            reason = f"Pictures are missing, and cannot be fetched now: {answer.reason}."
            raise unavailable("edge-unavailable", reason, _OFFLINE_RETRY_SECONDS)
        case Refusal():
            raise refused(answer)


def _file(clip: Clip, wanted: Wanted) -> Response:
    headers = {
        FRAMES: f"{clip.frames}/{clip.of}",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    name = f"{wanted.camera}-{wanted.layer}.mp4"
    return FileResponse(
        clip.path, media_type="video/mp4", headers=headers, filename=name, content_disposition_type="inline"
    )


def _pending(making: Making) -> Response:
    shown = {"status": "fetching", "here": making.here, "of": making.of, "retry_after": _RETRY_SECONDS}
    response = json_response(to_json(shown))
    response.status_code = 202
    response.headers["Retry-After"] = str(_RETRY_SECONDS)
    response.headers["Cache-Control"] = "no-store"
    return response
