"""Pixels on demand without any service: replies that come late, twice or too many, edges that are busy or leave."""

import asyncio

import pytest

from cloud.frame import Original, Pixels
from cloud.layers import Answer, Asked, Layers, Unavailable
from cloud.links import Link, Links
from cloud.replies import Refusal, Wish
from cloud.store import StoreError
from common.errors import BundleError
from common.telemetry import Metrics
from common.wire import stream_pb2 as wire

JPEG = b"\xff\xd8\xff\xe0" + b"pixels" * 1000
KEY = ("frame", "original")
LATE = 1000.0
"""Seconds after which nobody counts on an answer any more."""


class Shelf:
    """Keeps nothing until it is opened; with an `error` nothing at all."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.came: list[Wish] = []
        self.error: Exception | None = None

    async def keep(self, wish: Wish, came: Pixels) -> None:
        assert came == Original("image/jpeg", JPEG)
        self.came.append(wish)
        await self.open.wait()
        if self.error:
            raise self.error


class World:
    """Edges, a shelf, and a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.shelf = Shelf()
        self.links = Links(Metrics("test", "0").link_up)
        self.link = self.joined("e")
        self.layers = Layers(self.links, self.shelf.keep, clock=lambda: self.now, pause=0.02)

    def joined(self, edge: str) -> Link:
        self.links.add(link := Link(edge, "epoch", -1))
        return link

    def want(self, frame: str = "frame", edge: str = "e", quality: int = 0) -> Answer:
        return self.layers.want(Wish(edge, frame, "original", quality=quality))

    def asked(self, frame: str = "frame", quality: int = 0) -> wire.LayerReply:
        """A good answer to what the edge has just been asked."""
        assert is_asked(self.want(frame, quality=quality))
        return answer_to(self.link)

    def replied(self, reply: wire.LayerReply) -> None:
        self.layers.replied(self.link, reply)


@pytest.fixture
async def world() -> World:
    return World()


def is_asked(answer: Answer, other: bool = False) -> bool:
    return isinstance(answer, Asked) and answer.other == other


def answer_to(link: Link) -> wire.LayerReply:
    message = link.outbox.get_nowait()
    assert isinstance(message, wire.IngestResponse)
    asked = message.layer_request.request_id
    return wire.LayerReply(request_id=asked, status=wire.LAYER_STATUS_OK, content_type="image/jpeg", payload=JPEG)


def status(reply: wire.LayerReply, is_now: wire.LayerStatus) -> wire.LayerReply:
    return wire.LayerReply(request_id=reply.request_id, status=is_now)


async def test_many_replies_to_one_request_are_kept_once(world: World) -> None:
    reply = world.asked()
    for _ in range(50):
        world.replied(reply)
        await asyncio.sleep(0)
    assert len(world.shelf.came) == 1 and world.layers.fetching(KEY)
    world.shelf.open.set()
    await world.layers.drain()
    assert not world.layers.fetching(KEY)


# ---- Late ----------------------------------------------------------------------------------------------------------


async def test_an_edge_that_takes_its_time_is_not_asked_twice(world: World) -> None:
    """An original on a slow link, a layer behind many others."""
    reply = world.asked()
    for world.now in (31.0, 60.0, 299.0):
        assert is_asked(world.want(), other=True)
    assert world.link.outbox.empty()
    world.replied(reply)
    await asyncio.sleep(0)
    assert len(world.shelf.came) == 1


async def test_what_comes_late_is_kept(world: World) -> None:
    reply = world.asked()
    world.now = LATE
    assert not world.layers.fetching(KEY)
    world.replied(reply)
    await asyncio.sleep(0)
    assert len(world.shelf.came) == 1 and world.layers.fetching(KEY)


async def test_what_comes_late_answers_also_who_asked_again(world: World) -> None:
    reply = world.asked()
    world.now = LATE
    again = world.asked()
    assert again.request_id != reply.request_id
    waiting = asyncio.create_task(world.layers.news(KEY, 1.0))
    await asyncio.sleep(0)
    world.replied(reply)
    world.shelf.open.set()
    await waiting
    assert not world.layers.fetching(KEY)
    world.replied(again)  # it is here already
    await asyncio.sleep(0)
    assert len(world.shelf.came) == 1 and not world.layers.fetching(KEY)


async def test_a_late_failure_does_not_speak_for_who_asked_again(world: World) -> None:
    reply = world.asked()
    world.now = LATE
    again = world.asked()
    world.replied(status(reply, wire.LAYER_STATUS_FAILED))
    assert world.layers.fetching(KEY)
    world.replied(again)
    await asyncio.sleep(0)
    assert len(world.shelf.came) == 1


async def test_what_comes_late_answers_its_own_wish(world: World) -> None:
    reply = world.asked(quality=100)
    world.now = LATE
    other = world.asked(quality=200)
    world.replied(reply)
    await asyncio.sleep(0)
    assert [wish.quality for wish in world.shelf.came] == [100]
    world.replied(other)  # while that is being kept: it is dropped, and may be asked for again
    await asyncio.sleep(0)
    world.shelf.open.set()
    await world.layers.drain()
    assert [wish.quality for wish in world.shelf.came] == [100] and not world.layers.fetching(KEY)
    world.replied(world.asked(quality=200))
    await world.layers.drain()
    assert [wish.quality for wish in world.shelf.came] == [100, 200]


async def test_an_edge_that_says_late_that_it_is_busy_is_not_asked_for_nobody(world: World) -> None:
    reply = world.asked()
    world.now = LATE
    world.layers._pause = 0.0
    world.replied(status(reply, wire.LAYER_STATUS_BUSY))
    again = world.asked()
    for _ in range(3):
        await asyncio.sleep(0)
    assert world.link.outbox.empty()
    world.replied(again)
    await asyncio.sleep(0)
    assert len(world.shelf.came) == 1


async def test_late_requests_are_bounded(world: World) -> None:
    replies = []
    for world.now in (LATE * n for n in range(20)):
        replies += [world.asked(f"{world.now}-{i}") for i in range(250)]
    world.shelf.open.set()
    for reply in replies:
        world.replied(reply)
        await world.layers.drain()
    assert 4000 <= len(world.shelf.came) <= 4001
    assert world.shelf.came[-1].frame == "19000.0-249", "the newest are taken"


# ---- Too many ------------------------------------------------------------------------------------------------------


async def test_so_many_are_fetched_of_an_edge_at_once(world: World) -> None:
    replies = [world.asked(f"frame-{i}") for i in range(250)]
    assert world.want() == Unavailable("too many pictures are being fetched")
    assert world.link.outbox.empty() and not world.layers.fetching(KEY)
    there = world.joined("there")
    assert is_asked(world.want("another", "there")) and answer_to(there)
    world.replied(replies[0])
    assert is_asked(world.want())


async def test_an_edge_that_leaves_takes_its_requests_along(world: World) -> None:
    for edge in range(8):
        world.joined(f"edge-{edge}")
        assert all(is_asked(world.want(f"frame-{edge}-{i}", f"edge-{edge}")) for i in range(250))
    assert world.want() == Unavailable("too many pictures are being fetched")
    first = world.links.get("edge-0")
    assert first
    world.links.remove(first)
    assert is_asked(world.want())


async def test_pictures_that_wait_for_the_database_are_bounded(world: World) -> None:
    for i in range(20):
        world.replied(world.asked(f"frame-{i}"))
    await asyncio.sleep(0)
    assert [wish.frame for wish in world.shelf.came] == [f"frame-{i}" for i in range(8)]
    refusal = world.want("frame-19")  # not asked for at once: it would be dropped again
    assert isinstance(refusal, Refusal) and (refusal.status, refusal.name) == (503, "pixels-not-kept")
    assert "ask again" in refusal.reason and not refusal.final
    world.shelf.open.set()
    await world.layers.drain()
    world.now = 0.03
    assert world.asked("frame-19").request_id


@pytest.mark.parametrize(
    ("error", "status", "name", "word"),
    [
        (StoreError("the disk is full"), 503, "pixels-not-kept", "log"),
        (RuntimeError("a mistake"), 503, "pixels-not-kept", "log"),
        (BundleError("latent.npz cannot be read"), 409, "bundle-unusable", "latent.npz"),
    ],
)
async def test_what_cannot_be_kept_is_not_asked_for_at_once(
    world: World, error: Exception, status: int, name: str, word: str
) -> None:
    world.shelf.error = error
    world.shelf.open.set()
    world.replied(world.asked())
    await world.layers.drain()
    refusal = world.want()
    assert isinstance(refusal, Refusal) and (refusal.status, refusal.name, refusal.final) == (status, name, False)
    assert word in refusal.reason and world.link.outbox.empty()
    world.now = 0.03
    assert world.asked().request_id


# ---- Busy, refused -------------------------------------------------------------------------------------------------


async def test_an_edge_that_is_busy_has_longer_and_is_asked_once_each_time(world: World) -> None:
    busy = status(world.asked(), wire.LAYER_STATUS_BUSY)
    for world.now in range(29, 299, 29):
        for _ in range(20):
            world.replied(busy)
        async with asyncio.timeout(20):
            await world.link.outbox.get()
        await asyncio.sleep(0)
        assert world.link.outbox.empty() and world.layers.fetching(KEY)
    world.now = 301.0  # it has had its chances
    assert not world.layers.fetching(KEY)


async def test_an_edge_that_is_busy_is_asked_again(world: World) -> None:
    busy = status(world.asked(), wire.LAYER_STATUS_BUSY)
    world.replied(busy)
    assert is_asked(world.want(), other=True)
    async with asyncio.timeout(20):
        again = await world.link.outbox.get()
    assert isinstance(again, wire.IngestResponse) and again.layer_request.request_id == busy.request_id


async def test_a_refusal_holds_for_the_quality_that_was_asked_for(world: World) -> None:
    world.replied(status(world.asked(quality=400), wire.LAYER_STATUS_INVALID))
    refusal = world.want(quality=400)
    assert isinstance(refusal, Refusal) and refusal.final and refusal.status == 422
    assert world.asked()
