"""Pixels on demand: asks the edge for a layer when somebody wants to look, and keeps what comes.

One request is outstanding per frame and layer, however many ask. An edge answers, or its stream ends; how long it takes
is the matter of its link and of what else it has to do, so what comes late is kept as well. That a layer is gone is
remembered, so that nobody asks again for it in that quality. What came damaged, or could not be kept, is told to those
who ask in the next moments; after that it may be asked for again. An edge that is busy is asked again, ever less often.
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
from cloud.replies import MAX_BYTES, Refusal, ReplyError, Wish, read, unusable
from common.errors import BundleError
from common.scalable.regions import Region
from common.wire import stream_pb2 as wire

log = structlog.get_logger()

PAUSE_SECONDS = 2.0
"""How long a failure is told, and a busy edge left alone, before the edge is asked again."""
_PATIENCE_SECONDS = 300.0
"""How long an edge may take, or say that it is busy, until it may be asked for the same once more."""
_MOST_DOUBLINGS = 3
"""Of the pause before an edge that is busy is asked again."""
_MAX_OUTSTANDING = 2000
_MAX_OF_EDGE = 250
"""Of those, so that one slow edge does not stop the others."""
_MAX_ASKED = 2 * _MAX_OUTSTANDING
"""Requests whose answers are taken, with those that are late."""
_MAX_STORING = 8
"""Pictures in memory while the database takes its time. What comes beyond is dropped, to be asked for again."""
_TOO_MANY = Refusal(503, "pixels-not-kept", "it came while too many pictures wait for the database; ask again")
_NOT_KEPT = Refusal(503, "pixels-not-kept", "it came and could not be kept; the cloud's log says why; ask again")
_MAX_REFUSED = 10_000
_LOOK_SECONDS = 1.0
"""How often who waits looks whether there is still something to wait for."""

Key = tuple[str, str]
"""(frame id, layer)"""
RefusedKey = tuple[Key, int, tuple[Region, ...] | None]
"""The same, the least quality, and the parts that were wanted; None if it is so of all parts."""
Keep = Callable[[Wish, Pixels], Awaitable[None]]
"""(what was wanted, what came). Raises ReplyError for what can only be seen to be damaged there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The edge has been asked; there will be `news` of this key. `other`: maybe for other parts of this layer, or in
    another quality; when that has come, it can be asked for this.
    """

    key: Key
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
    until: float
    """After that it is late."""
    busy: int = 0
    """How often the edge has said so."""
    timer: asyncio.TimerHandle | None = None
    """Until it is asked again."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Other than by saying that it is busy."""


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
        self._asked: dict[str, _Request] = {}
        """By id, in the order in which they were asked: those that are outstanding, and before them the late ones."""
        self._refused: OrderedDict[RefusedKey, tuple[Refusal, float]] = OrderedDict()
        self._storing: dict[Key, asyncio.Task[None]] = {}

    def fetching(self, key: Key) -> bool:
        """Whether it has come, or an edge that is still there has been asked, not too long ago."""
        if key in self._storing:
            return True
        request = self._outstanding.get(key)
        return request is not None and self._is_awaited(request)

    def want(self, wish: Wish) -> Answer:
        """Somebody wants a layer that is not here."""
        if refusal := self._refusal(wish):
            return refusal
        if self.fetching(wish.key):
            return Asked(wish.key, other=True)
        link = self._links.get(wish.edge)
        if link is None:
            return Unavailable(f"edge {wish.edge} is not connected")
        self._forget_late()
        of_edge = sum(each.link is link for each in self._outstanding.values())
        if of_edge >= _MAX_OF_EDGE or len(self._outstanding) >= _MAX_OUTSTANDING:
            return Unavailable("too many pictures are being fetched")
        request = _Request(str(uuid.uuid4()), wish, link, self._clock() + _PATIENCE_SECONDS)
        self._outstanding[wish.key] = self._asked[request.id] = request
        link.say(_message(request))
        return Asked(wish.key)

    def replied(self, link: Link, reply: Any) -> None:
        """An edge has answered. Only the edge that was asked may, once, and only with what belongs to the frame."""
        request = self._asked.get(reply.request_id)
        if request is None or request.link.edge != link.edge:
            log.warning("unexpected layer reply", edge=link.edge, request=reply.request_id[:64])
            return
        if reply.status == wire.LAYER_STATUS_BUSY:
            self._wait_for_busy(request)
            return
        self._end(request)
        wish = request.wish
        try:
            came = read(reply, wish, self._max_coded if wish.fits else self._max_original)
        except ReplyError as e:
            self._refuse(wish, e.refusal)
            return
        again = self._outstanding.get(wish.key)
        if again is not None and again.wish == wish:  # this came late; the next need not come
            self._end(again)
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

    def _is_awaited(self, request: _Request) -> bool:
        return self._is_open(request.link) and self._clock() < request.until

    def _end(self, request: _Request) -> None:
        """No answer to it is taken any more."""
        del self._asked[request.id]
        if self._outstanding.get(request.wish.key) is request:
            del self._outstanding[request.wish.key]
        request.answered.set()

    def _wait_for_busy(self, request: _Request) -> None:
        """Ask again in a while: the request lives on, so that those who wait see that it is under way."""
        if request.timer is not None:
            return
        pause = self._pause * 2 ** min(request.busy, _MOST_DOUBLINGS)
        request.busy += 1
        request.timer = asyncio.get_running_loop().call_later(pause, self._ask_again, request)

    def _ask_again(self, request: _Request) -> None:
        """An edge that was busy, if anybody may still wait for it."""
        request.timer = None
        if self._outstanding.get(request.wish.key) is request and self._is_awaited(request):
            request.link.say(_message(request))

    def _refusal(self, wish: Wish) -> Refusal | None:
        """Of all parts of the layer, or of those that are wanted."""
        for regions in (None, wish.regions):
            refusal, until = self._refused.get((wish.key, wish.quality, regions), (None, 0.0))
            if refusal is not None and (refusal.final or self._clock() < until):
                return refusal
        return None

    def _refuse(self, wish: Wish, refusal: Refusal) -> None:
        log.warning("no pixels", edge=wish.edge, frame=wish.frame, layer=wish.layer, reason=refusal.reason)
        # What is gone or unknown is so of every part; another part may be whole, or small enough, or valid.
        regions = None if refusal.status in (404, 410) else wish.regions
        key = wish.key, wish.quality, regions
        self._refused[key] = refusal, self._clock() + self._pause
        self._refused.move_to_end(key)
        while len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)

    def _start_storing(self, wish: Wish, came: Pixels) -> None:
        if wish.key in self._storing:  # one of them was late
            log.info("picture dropped: another of this layer is being kept", frame=wish.frame, layer=wish.layer)
        elif len(self._storing) >= _MAX_STORING:
            self._refuse(wish, _TOO_MANY)
        else:
            self._storing[wish.key] = asyncio.create_task(self._store(wish, came))

    def _forget_late(self) -> None:
        """Nobody counts on them any more. Their answers are still taken, unless they are too many, or cannot come."""
        self._outstanding = {key: each for key, each in self._outstanding.items() if self._is_awaited(each)}
        asked = [each for each in self._asked.values() if self._is_open(each.link)]
        self._asked = {each.id: each for each in asked[-_MAX_ASKED:]}

    async def _store(self, wish: Wish, came: Pixels) -> None:
        try:
            await self._keep(wish, came)
        except ReplyError as e:
            self._refuse(wish, e.refusal)
        except BundleError as e:
            self._refuse(wish, unusable(e))
        except Exception:
            log.exception("cannot keep a picture", frame=wish.frame)
            self._refuse(wish, _NOT_KEPT)
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
