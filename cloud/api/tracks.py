"""/v1/tracks: objects followed through a camera's frames."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from cloud.api.problems import not_found
from cloud.api.query import KNOWN_ONLY, Filtered, Order, decode_cursor, encode_cursor
from cloud.api.results import json_response, next_link
from cloud.api.shapes import json_object, timestamp
from cloud.store import Point, Store, Track, to_json


class TrackState(BaseModel):
    """One object in sight of one camera of one edge. Times are those of capture."""

    id: int = Field(description="unique for ever; the `track_id` of detections")
    camera: str
    edge: str
    label: str = Field(description="what it was taken for most often")
    votes: dict[str, int] = Field(description="in how many frames it had each label")
    first_seen: datetime
    last_seen: datetime
    dwell_s: float = Field(description="seconds from the first to the last sight")
    frames: int = Field(description="in which it was seen")
    best_score: float


class Where(BaseModel):
    """Where a track was in one frame."""

    frame: str = Field(description="the result's id")
    captured_at: datetime
    score: float
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the picture")


class TrackPath(TrackState):
    """A track and where it was, oldest first, as far as its results are kept."""

    path: list[Where]


class Tracks(BaseModel):
    """Some tracks; `next` is the cursor of those that follow, null at the end."""

    tracks: list[TrackState]
    next: str | None


def router(store: Store) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["tracks"])

    @routes.get("/v1/tracks", response_model=Tracks, dependencies=[KNOWN_ONLY])
    async def tracks(
        request: Request,
        filters: Filtered,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        order: Order = "desc",
        cursor: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Response:
        """Tracks in the order of their ids, which rise as objects appear.

        `label` is what a track is taken for, `min_score` the least that its best score may be; `since` and `until` find
        those that were in sight at some time between.
        """
        past = decode_cursor(cursor, order)
        rows = await store.tracks(filters, limit, newest_first=order == "desc", past=past)
        following = encode_cursor(order, rows[-1].id) if len(rows) == limit else None
        headers = {"Link": next_link(request, following)} if following else None
        shown = ",".join(json_object(_members(row)) for row in rows)
        return json_response(f'{{"tracks":[{shown}],"next":{to_json(following)}}}', headers)

    @routes.get("/v1/tracks/{id}", response_model=TrackPath, dependencies=[KNOWN_ONLY])
    async def track(
        id: Annotated[int, Path(ge=1, lt=2**63)],  # noqa: A002 - the name in the path
        points: Annotated[int, Query(ge=1, le=5000, description="of the path at most, evenly spread")] = 500,
    ) -> Response:
        """One track and its path."""
        row = await store.track(id)
        if row is None:
            raise not_found(f"No track {id} here. It may have gone with its results; /v1/tracks lists those there are.")
        path = ",".join(_point(point) for point in await store.path(id, points))
        return json_response(json_object(_members(row) | {"path": f"[{path}]"}))

    return routes


def _members(row: Track) -> dict[str, str]:
    return {
        "id": str(row.id),
        "camera": f'"{row.camera}"',
        "edge": f'"{row.edge}"',
        "label": to_json(row.label),
        "votes": row.votes,
        "first_seen": f'"{timestamp(row.first_us)}"',
        "last_seen": f'"{timestamp(row.last_us)}"',
        "dwell_s": str(round((row.last_us - row.first_us) / 1e6, 6)),
        "frames": str(row.frames),
        "best_score": str(row.best_score),
    }


def _point(point: Point) -> str:
    return json_object(
        {
            "frame": f'"{point.frame}"',
            "captured_at": f'"{timestamp(point.captured_us)}"',
            "score": str(point.score),
            "box": to_json(point.box),
        }
    )
