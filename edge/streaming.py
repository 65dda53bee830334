"""/v1/streams over HTTP: video that the edge fetches itself, and how each of them is."""

from typing import Any

from fastapi import APIRouter, Request, Response

from common.problems import SCHEMA
from edge import choosing
from edge.api import rfc3339
from edge.parts import parts
from edge.streams.progress import Progress
from edge.streams.streams import Stream
from edge.streams.wanted import Wanted

PATH = "/v1/streams"
router = APIRouter()


@router.post(PATH, status_code=201, responses=dict.fromkeys((409, 422, 501, 503), SCHEMA))
async def post_stream(wanted: Wanted, request: Request, response: Response) -> dict[str, Any]:
    """Play video from now on: a file, RTSP, HTTP or a webcam. It is kept, and begins again when the edge restarts.

    That the source can be reached is not waited for: `state` says so later.
    """
    edge = parts(request)
    edge.streams.check(wanted)
    if wanted.mode is not None:
        point = choosing.Wanted.model_validate({"mode": wanted.mode, "camera": wanted.camera})
        await choosing.patch_operating_point(point, request)
    stream = await edge.streams.add(wanted)
    response.headers["Location"] = f"{PATH}/{stream.id}"
    return shown(stream)


@router.get(PATH)
async def get_streams(request: Request) -> dict[str, Any]:
    """All streams and how they are, and how many there may be."""
    edge = parts(request)
    return {
        "streams": [shown(stream) for stream in edge.streams.all()],
        "limit": edge.settings.max_streams,
        "files_allowed": edge.settings.streams_dir is not None,
    }


@router.get(f"{PATH}/{{stream_id}}", responses={404: SCHEMA})
async def get_stream(stream_id: str, request: Request) -> dict[str, Any]:
    """One stream: what was asked for, what it is doing and why, and what became of its frames."""
    edge = parts(request)
    return shown(edge.streams.get(stream_id))


@router.delete(f"{PATH}/{{stream_id}}", status_code=204, responses={404: SCHEMA, 503: SCHEMA})
async def delete_stream(stream_id: str, request: Request) -> None:
    """Stop it and forget it. Frames that were taken reach the cloud; the camera's operating point stays."""
    await parts(request).streams.remove(stream_id)


def shown(stream: Stream) -> dict[str, Any]:
    """A stream for the API, its URI without what is secret."""
    asked = stream.wanted.model_dump(exclude={"uri"})
    return {"id": stream.id, "uri": stream.address.shown, **asked, **_progress(stream.told)}


def _progress(told: Progress) -> dict[str, Any]:
    error = {"at": rfc3339(told.last_error_us), "message": told.last_error} if told.last_error else None
    return {
        "state": told.state,
        "reason": told.reason,
        "since": rfc3339(told.since_us),
        "resolution": {"width": told.size[0], "height": told.size[1]} if told.size else None,
        "codec": told.codec or None,
        "frames_per_second": {"read": told.arriving.fps, "sent": told.leaving.fps},
        "frames": {
            "read": told.read,
            "sent": told.sent,
            "skipped_by_rate": told.skipped_by_rate,
            "skipped_by_motion": told.skipped_by_motion,
            "dropped_for_newer": told.late,
            "refused": told.refused,
            "undecodable": told.undecodable,
        },
        "broken_timestamps": told.broken_timestamps,
        "size_changes": told.resized,
        "reconnects": told.reconnects,
        "behind_seconds": round(told.behind_s, 3),
        "slipped_seconds": round(told.slipped_s, 3),
        "last_frame_at": rfc3339(told.last_frame_us) if told.last_frame_us else None,
        "last_error": error,
        "milliseconds": {
            "read": round(1e3 * told.read_s / max(1, told.read), 3),
            "jpeg": round(1e3 * told.jpeg_s / max(1, told.sent + told.refused), 3),
        },
    }
