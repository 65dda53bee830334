"""Pixels on demand: asks the edge for a layer when somebody wants to look, and keeps what comes.

One request is outstanding per frame and layer, however many ask. That a layer is gone is remembered, so that nobody
asks again for it in that quality. What came damaged is told to those who ask in the next moments; after that it may be
asked for again. An edge that is busy is asked again, ever less often.
"""

import asyncio
import contextlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from cloud.frame import Pixels
from cloud.links import Link, Links
from cloud.replies import MAX_BYTES, Refusal, ReplyError, Wish, read
from common.scalable.regions import Region
from common.wire import stream_pb2 as wire

log = structlog.get_logger()

PAUSE_SECONDS = 2.0
"""How long a failure is told, and a busy edge left alone, before the edge is asked again."""
_PATIENCE_SECONDS = 30.0
_MAX_BUSY_SECONDS = 300.0
"""How long an edge may say that it is busy before the request is given up."""
_MOST_DOUBLINGS = 3
"""Of the pause before it is asked again."""
_MAX_OUTSTANDING = 1000
_MAX_STORING = 8
"""Pictures in memory while the database takes its time. What comes beyond is dropped, to be asked for again."""
_MAX_REFUSED = 10_000
_LOOK_SECONDS = 1.0
"""How often who waits looks whether there is still something to wait for."""

Key = tuple[str, str]
"""(frame id, layer)"""
RefusedKey = tuple[str, str, int, tuple[Region, ...] | None]
"""The same, the least quality, 0 for any, and the parts that were wanted; None if it is so of all parts."""
Keep = Callable[[Wish, Pixels], Awaitable[None]]
"""(what was wanted, what came). Raises ReplyError for what can only be seen to be damaged there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The edge has been asked. `other`: maybe for other parts of this layer, or in another quality; when that has come,
    it can be asked for this.
    """

    other: bool = False


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The edge cannot be asked now."""

    reason: str


Answer = Asked | Refusal | Unavailable


@dataclass(slots=True)
class _Request:
    id: str
    wish: Wish
    link: Link
    began: float
    busy: int = 0
    """How often the edge has said so."""
    timer: asyncio.TimerHandle | None = None
    """Until it is asked again."""
    until: float = 0.0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Other than by saying that it is busy."""

    def __post_init__(self) -> None:
        self.until = self.began + _PATIENCE_SECONDS


class Layers:
    """Who asked, what came. `max_original` and `max_coded`: bytes of the largest that is kept of either."""

    def __init__(
        self,
        links: Links,
        keep: Keep,
        max_original: int = MAX_BYTES,
        max_coded: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._links = links
        self._keep = keep
        self._max_original = min(max_original, MAX_BYTES)
        self._max_coded = min(max_coded, MAX_BYTES)
        self._clock = clock
        self._pause = pause
        self._outstanding: dict[Key, _Request] = {}
        self._refused: OrderedDict[RefusedKey, tuple[Refusal, float]] = OrderedDict()
        self._storing: dict[Key, asyncio.Task[None]] = {}

    def fetching(self, key: Key) -> bool:
        """Whether it has come, or an edge that is still there has been asked, not too long ago."""
        if key in self._storing:
            return True
        request = self._outstanding.get(key)
        return request is not None and self._is_open(request.link) and self._clock() < request.until

    def want(self, wish: Wish) -> Answer:
        """Somebody wants a layer that is not here."""
        of_all: RefusedKey = *wish.key, wish.quality, None
        if refusal := self._refusal(of_all) or self._refusal((*of_all[:3], wish.regions)):
            return refusal
        if self.fetching(wish.key):
            return Asked(other=True)
        link = self._links.get(wish.edge)
        if link is None:
            return Unavailable(f"edge {wish.edge} is not connected")
        self._forget_late()
        if len(self._outstanding) >= _MAX_OUTSTANDING:
            return Unavailable("too many pictures are being fetched")
        request = _Request(str(uuid.uuid4()), wish, link, self._clock())
        self._outstanding[wish.key] = request
        link.say(_message(request))
        return Asked()

    def replied(self, link: Link, reply: Any) -> None:
        """An edge has answered. Only the edge that was asked may, once, and only with what belongs to the frame."""
        request = next((r for r in self._outstanding.values() if r.id == reply.request_id), None)
        if request is None or request.link.edge != link.edge:
            log.warning("unexpected layer reply", edge=link.edge, request=reply.request_id[:64])
            return
        if reply.status == wire.LAYER_STATUS_BUSY:
            self._wait_for_busy(request)
            return
        del self._outstanding[request.wish.key]
        request.answered.set()
        wish = request.wish
        try:
            came = read(reply, wish, self._max_coded if wish.fits else self._max_original)
        except ReplyError as e:
            self._refuse(wish, e.refusal)
        else:
            self._start_storing(wish, came)

    async def news(self, key: Key, seconds: float) -> None:
        """Wait until what is being fetched has come, or has not; or so long."""
        # An edge that leaves says nothing, so it is looked at now and then whether it is still there.
        seconds = min(seconds, _LOOK_SECONDS)
        if key not in self._storing and (request := self._outstanding.get(key)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(request.answered.wait(), seconds)
        if storing := self._storing.get(key):
            await asyncio.wait([storing], timeout=seconds)

    async def drain(self) -> None:
        """Wait until what has come is kept."""
        if self._storing:
            await asyncio.wait(self._storing.values())

    def _is_open(self, link: Link) -> bool:
        return self._links.get(link.edge) is link

    def _wait_for_busy(self, request: _Request) -> None:
        """Ask again in a while: the request lives on, so that those who wait see that it is under way."""
        if request.timer is not None:
            return
        pause = self._pause * 2 ** min(request.busy, _MOST_DOUBLINGS)
        request.busy += 1
        last = request.began + _MAX_BUSY_SECONDS
        request.until = max(request.until, min(self._clock() + pause + _PATIENCE_SECONDS, last))
        request.timer = asyncio.get_running_loop().call_later(pause, self._ask_again, request)

    def _ask_again(self, request: _Request) -> None:
        """An edge that was busy, if anybody may still wait for it."""
        request.timer = None
        if self._outstanding.get(request.wish.key) is request and self.fetching(request.wish.key):
            request.link.say(_message(request))

    def _refusal(self, key: RefusedKey) -> Refusal | None:
        refusal, until = self._refused.get(key, (None, 0.0))
        if refusal is not None and not refusal.final and self._clock() >= until:
            del self._refused[key]
            return None
        return refusal

    def _refuse(self, wish: Wish, refusal: Refusal) -> None:
        log.warning("no pixels", edge=wish.edge, frame=wish.frame, layer=wish.layer, reason=refusal.reason)
        # What is gone or unknown is so of every part; another part may be whole, or small enough, or valid.
        regions = None if refusal.status in (404, 410) else wish.regions
        self._refused[*wish.key, wish.quality, regions] = refusal, self._clock() + self._pause
        while len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)

    def _start_storing(self, wish: Wish, came: Pixels) -> None:
        if len(self._storing) >= _MAX_STORING:
            log.warning("picture dropped: too many wait for the database", frame=wish.frame)
            return
        self._storing[wish.key] = asyncio.create_task(self._store(wish, came))

    def _forget_late(self) -> None:
        now = self._clock()
        self._outstanding = {key: r for key, r in self._outstanding.items() if now < r.until}

    async def _store(self, wish: Wish, came: Pixels) -> None:
        try:
            await self._keep(wish, came)
        except ReplyError as e:
            self._refuse(wish, e.refusal)
        except Exception:
            log.exception("cannot keep a picture", frame=wish.frame)
        finally:  # kept, or to be asked for again
            del self._storing[wish.key]


def _message(request: _Request) -> wire.IngestResponse:
    wish = request.wish
    return wire.IngestResponse(
        layer_request=wire.LayerRequest(
            request_id=request.id,
            frame_id=wish.frame,
            layer=wish.layer,
            with_base=wish.with_base,
            quality=wish.quality,
            regions=[wire.Region(**region._asdict()) for region in wish.regions],
            below=wish.below,
        )
    )
