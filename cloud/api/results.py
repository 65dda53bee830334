"""/v1/results, /v1/frames/{id}, /v1/cameras: what was found."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from cloud.api.problems import not_found
from cloud.api.query import KNOWN_ONLY, Fields, Filtered, Order, decode_cursor, encode_cursor
from cloud.api.shapes import Cameras, Page, Result, Shapes, page
from cloud.links import Links
from cloud.store import Filters, Record, Store, to_json


def router(store: Store, links: Links, shapes: Shapes) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["results"])

    @routes.get("/v1/results", response_model=Page, dependencies=[KNOWN_ONLY])
    async def results(
        request: Request,
        filters: Filtered,
        fields: Fields,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        order: Order = "desc",
        cursor: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Response:
        """Results in the order in which they were stored. `next`, or the Link header, leads on."""
        past = decode_cursor(cursor, order)
        rows = await store.results(filters, limit, newest_first=order == "desc", past=past)
        following = encode_cursor(order, rows[-1].number) if len(rows) == limit else None
        headers = {"Link": next_link(request, following)} if following else None
        return json_response(page((shown(shapes, row, filters, fields) for row in rows), following), headers)

    @routes.get("/v1/results/{id}", response_model=Result)
    @routes.get("/v1/frames/{id}", response_model=Result)
    async def result(id: str, fields: Fields) -> Response:  # noqa: A002 - the name in the path
        """The result of one frame."""
        return json_response(shown(shapes, await find(store, id), Filters(), fields))

    @routes.get("/v1/cameras", response_model=Cameras, dependencies=[KNOWN_ONLY])
    async def cameras() -> Response:
        """All cameras that ever sent a frame, each with its newest result."""
        states = await store.cameras()
        each = (shapes.camera(s, online=links.get(s.edge) is not None) for s in states)
        return json_response(f'{{"cameras":[{",".join(each)}]}}')

    return routes


async def find(store: Store, frame_id: str) -> Record:
    """The result of a frame. Raises Problem."""
    row = await store.result(frame_id.lower())
    if row is None:
        raise not_found(f"No result of frame {frame_id[:64]} here. It may still be on its way: ask its edge.")
    return row


def shown(shapes: Shapes, row: Record, filters: Filters, fields: list[str] | None = None) -> str:
    """A result as asked for: the detections that match, the fields that are wanted."""
    if filters.labels or filters.min_score is not None:
        row = replace(row, detections=to_json([d for d in row.found() if filters.matches(d)]))
    return shapes.result(row, fields)


def json_response(text: str, headers: dict[str, str] | None = None) -> Response:
    """JSON that is text already."""
    return Response(text, media_type="application/json", headers=headers)


def next_link(request: Request, cursor: str) -> str:
    """The Link header of a page."""
    return f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'
