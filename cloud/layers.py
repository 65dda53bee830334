"""Pixels on demand: asks the edge for a layer when somebody wants to look, and keeps what comes.

One request is outstanding per frame and layer, however many ask. That a layer is gone is remembered, so that
nobody asks again.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from cloud.links import Link, Links
from common.wire import stream_pb2 as wire

log = structlog.get_logger()

LAYERS = ("full",)
MAX_PICTURE_BYTES = 15 * 1024 * 1024

_PATIENCE_SECONDS = 30.0
_MAX_OUTSTANDING = 1000
_MAX_STORING = 8
"""Pictures in memory while the database takes its time. What comes beyond is dropped, to be asked for again."""
_MAX_GONE = 10_000
_SIGNATURES = {
    "image/jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "image/png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
}

Wanted = tuple[str, str]
"""(frame id, layer)"""
Keep = Callable[[str, str, str, bytes], Awaitable[None]]
"""(frame id, layer, content type, content)"""


@dataclass(frozen=True, slots=True)
class Asked:
    """The edge has been asked."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There will be no such pixels."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The edge cannot be asked now."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Request:
    id: str
    wanted: Wanted
    link: Link
    until: float


class Layers:
    """Who asked, what came."""

    def __init__(
        self,
        links: Links,
        keep: Keep,
        max_bytes: int = MAX_PICTURE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._links = links
        self._keep = keep
        self._max_bytes = min(max_bytes, MAX_PICTURE_BYTES)
        self._clock = clock
        self._outstanding: dict[Wanted, _Request] = {}
        self._gone: OrderedDict[Wanted, str] = OrderedDict()
        self._storing: dict[Wanted, asyncio.Task[None]] = {}

    def fetching(self, frame: str, layer: str) -> bool:
        """Whether it has come, or an edge that is still there has been asked, not too long ago."""
        if (frame, layer) in self._storing:
            return True
        request = self._outstanding.get((frame, layer))
        return (
            request is not None and self._links.get(request.link.edge) is request.link and self._clock() < request.until
        )

    def want(self, edge: str, frame: str, layer: str) -> Asked | Gone | Unavailable:
        """Somebody wants a layer that is not here."""
        wanted = (frame, layer)
        if wanted in self._gone:
            return Gone(self._gone[wanted])
        if self.fetching(frame, layer):
            return Asked()
        link = self._links.get(edge)
        if link is None:
            return Unavailable(f"edge {edge} is not connected")
        self._forget_late()
        if len(self._outstanding) >= _MAX_OUTSTANDING:
            return Unavailable("too many pictures are being fetched")
        self._ask(link, wanted)
        return Asked()

    def replied(self, link: Link, reply: Any) -> None:
        """An edge has answered. Only the edge that was asked may, once, and only with a picture."""
        request = next((r for r in self._outstanding.values() if r.id == reply.request_id), None)
        if request is None or request.link.edge != link.edge:
            log.warning("unexpected layer reply", edge=link.edge, request=reply.request_id[:64])
            return
        del self._outstanding[request.wanted]
        problem = _problem(reply, self._max_bytes)
        if problem is None:
            self._start_storing(request.wanted, reply)
            return
        self._gone[request.wanted] = problem
        while len(self._gone) > _MAX_GONE:
            self._gone.popitem(last=False)

    async def drain(self) -> None:
        """Wait until what has come is kept."""
        if self._storing:
            await asyncio.wait(self._storing.values())

    def _start_storing(self, wanted: Wanted, reply: Any) -> None:
        if len(self._storing) >= _MAX_STORING:
            log.warning("picture dropped: too many wait for the database", frame=wanted[0])
            return
        self._storing[wanted] = asyncio.create_task(self._store(wanted, reply.content_type, reply.payload))

    def _ask(self, link: Link, wanted: Wanted) -> None:
        frame, layer = wanted
        request = _Request(str(uuid.uuid4()), wanted, link, self._clock() + _PATIENCE_SECONDS)
        self._outstanding[wanted] = request
        link.say(
            wire.IngestResponse(layer_request=wire.LayerRequest(request_id=request.id, frame_id=frame, layer=layer))
        )

    def _forget_late(self) -> None:
        now = self._clock()
        self._outstanding = {w: r for w, r in self._outstanding.items() if now < r.until}

    async def _store(self, wanted: Wanted, content_type: str, content: bytes) -> None:
        try:
            await self._keep(*wanted, content_type, content)
        except Exception:
            log.exception("cannot keep a picture", frame=wanted[0])
        finally:  # kept, or to be asked for again
            del self._storing[wanted]


def _problem(reply: Any, max_bytes: int) -> str | None:
    """Why there is no picture in a reply."""
    if reply.status != wire.LAYER_STATUS_OK:
        return reply.detail[:500] or "the edge does not have it any more"
    if len(reply.payload) > max_bytes:
        return f"the edge sent {len(reply.payload)} bytes, more than the {max_bytes} that are kept here"
    is_picture = _SIGNATURES.get(reply.content_type)
    if is_picture is None or not is_picture(reply.payload[:16]):
        return f"the edge sent something that is not a picture of type {reply.content_type!r:.64}"
    return None
