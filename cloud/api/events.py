"""/v1/events: results as they are stored, as server-sent events that resume without loss or repeats."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from cloud.api.problems import invalid, unavailable
from cloud.api.query import KNOWN_ONLY
from cloud.api.shapes import Shapes
from cloud.hub import Hub
from cloud.store import Record

HEARTBEAT_SECONDS = 15.0
_MAX_LISTENERS = 200


def render(shapes: Shapes, row: Record) -> bytes:
    """One result as an event: rendered once, sent to everybody."""
    return format_sse_event(event="result", id=str(row.number), data_str=shapes.result(row))


def router(hub: Hub) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["results"])

    # Not response_class=EventSourceResponse: the framework would then render every event anew for every listener.
    @routes.get(
        "/v1/events",
        response_class=Response,
        responses={200: {"content": {EventSourceResponse.media_type: {}}}},
        dependencies=[KNOWN_ONLY],
    )
    async def events(
        after: Annotated[int | None, Query(ge=0, lt=2**63, description="resume beyond this number")] = None,
        last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    ) -> EventSourceResponse:
        """Events named `result` whose id is the result's number. Last-Event-ID, or `after`, resumes.

        The stream begins with an id without an event, so that it can be resumed before the first result.
        """
        if len(hub) >= _MAX_LISTENERS:
            raise unavailable("too-many-listeners", f"All {_MAX_LISTENERS} places are taken; use /v1/results.", 30)
        if last_event_id:
            after = _number(last_event_id)
        return EventSourceResponse(
            _stream(hub, after), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )

    return routes


async def _stream(hub: Hub, after: int | None) -> AsyncIterator[bytes]:
    start = hub.newest if after is None else min(after, hub.newest)  # beyond it: it was another database's number
    # Lets the client know at once that the stream is open, and from where to resume: an id dispatches nothing.
    yield b": midstream\nretry: 2000\nid: %d\n\n" % start
    async for batch in hub.follow(start, HEARTBEAT_SECONDS):
        yield b"".join(data for _, data in batch) if batch else KEEPALIVE_COMMENT


def _number(last_event_id: str) -> int:
    if not last_event_id.isdecimal() or int(last_event_id) >= 2**63:
        raise invalid("Last-Event-ID", "expected the id of an event of this stream, a whole number")
    return int(last_event_id)
