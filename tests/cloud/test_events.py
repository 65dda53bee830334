"""/v1/events: every result once and in order, whenever one joins and however slow one reads."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloud.hub import Hub
from cloud.store import Filters
from tests.cloud.conftest import Running, Start
from tests.cloud.speaker import PATIENCE, packet, until


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Server-sent events as a browser sees them."""
    async for block in blocks(lines):
        if "data" in block:
            yield block


async def blocks(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """What blank lines end: an event if it has data. An id holds until the next, whether or not it has."""
    block: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            block[name] = value.removeprefix(" ")
        elif not line:
            yield block
            block = {}


@asynccontextmanager
async def listening(cloud: Running, headers: dict[str, str] | None = None, **params: Any) -> AsyncIterator[Any]:
    async with cloud.http.stream("GET", "/v1/events", headers=headers, params=params) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == ": midstream"  # now the stream is open
        yield parsed(lines)


async def take(events: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


async def test_live_results(cloud: Running) -> None:
    sent = packet(1, cloud.payload({(0, 0, 0): 1.0}))
    async with listening(cloud) as events, cloud.edge() as edge:
        await edge.deliver(sent)
        (event,) = await take(events, 1)
    assert event["event"] == "result" and event["id"] == "1"
    assert json.loads(event["data"]) == await cloud.json(f"/v1/results/{sent.frame_id}")


async def test_resuming_repeats_nothing_and_loses_nothing(cloud: Running) -> None:
    """A listener that is cut off every few events while results pour in."""
    sent = [packet(seq, cloud.payload()) for seq in range(400)]
    seen: list[str] = []
    headers = {"Last-Event-ID": "0"}
    async with cloud.edge() as edge:
        filling = asyncio.create_task(edge.deliver(*sent))
        while len(seen) < len(sent):
            async with listening(cloud, headers) as events:
                for event in await take(events, min(23, len(sent) - len(seen))):
                    seen.append(json.loads(event["data"])["id"])
                    headers = {"Last-Event-ID": event["id"]}
        await filling
    assert seen == [p.frame_id for p in sent]


async def test_a_stream_that_breaks_before_its_first_event_loses_nothing(cloud: Running) -> None:
    sent = [packet(seq, cloud.payload()) for seq in range(3)]
    async with cloud.edge() as edge:
        await edge.deliver(sent[0])
        async with cloud.http.stream("GET", "/v1/events") as answer:
            opening = await anext(blocks(answer.aiter_lines()))
        await edge.deliver(*sent[1:])
        async with listening(cloud, {"Last-Event-ID": opening["id"]}) as events:
            seen = [json.loads(event["data"])["id"] for event in await take(events, 2)]
    assert "data" not in opening and seen == [p.frame_id for p in sent[1:]]


async def test_a_number_of_another_database_is_followed_from_now_on(cloud: Running) -> None:
    sent = [packet(seq, cloud.payload()) for seq in range(2)]
    async with cloud.edge() as edge:
        await edge.deliver(sent[0])
        async with listening(cloud, after=1000) as events:
            await edge.deliver(sent[1])
            (event,) = await take(events, 1)
    assert event["id"] == "2"


async def test_after_is_for_those_without_headers(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(packet(seq, cloud.payload()) for seq in range(10)))
    async with listening(cloud, after=7) as events:
        assert [e["id"] for e in await take(events, 3)] == ["8", "9", "10"]
    answer = await cloud.http.get("/v1/events", headers={"Last-Event-ID": "seven"})
    assert answer.status_code == 422


async def test_a_slow_listener_reads_from_the_database(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far more results than its queue holds come while it does not read."""
    monkeypatch.setattr("cloud.hub._QUEUE", 3)
    hub: Hub = cloud.parts.hub
    following = hub.follow(0, heartbeat=PATIENCE)
    first = asyncio.create_task(anext(following))
    async with cloud.edge() as edge:
        await until(lambda: len(hub) > 0)
        await edge.deliver(*(packet(seq, cloud.payload()) for seq in range(100)))
        numbers = [number for number, _ in await first]
        while len(numbers) < 100:
            numbers += [number for number, _ in await anext(following)]
    await following.aclose()
    assert numbers == list(range(1, 101))
    assert not len(hub)


async def test_what_was_committed_in_the_dark_is_not_missed(cloud: Running) -> None:
    """A commit whose answer was lost: nobody published it, and the next one shows that it is there."""
    sent = [packet(seq, cloud.payload()) for seq in range(3)]
    publish, cloud.parts.pipeline._publish = cloud.parts.pipeline._publish, lambda records: None
    async with listening(cloud) as events, cloud.edge() as edge:
        await edge.deliver(sent[0])
        cloud.parts.pipeline._publish = publish
        cloud.parts.hub._published = 0
        await edge.deliver(*sent[1:])
        seen = [json.loads(e["data"])["id"] for e in await take(events, 3)]
    assert seen == [p.frame_id for p in sent]


async def test_the_first_commit_after_a_start_may_be_in_the_dark(start: Start) -> None:
    """Its answer was lost; what is tried again finds that all is there, and there is nothing new to publish."""
    async with start() as cloud, cloud.edge() as edge:
        await edge.deliver(packet(0, cloud.payload()))
    sent = [packet(seq, cloud.payload()) for seq in range(1, 4)]
    async with start() as cloud, listening(cloud) as events, cloud.edge() as edge:
        publish, cloud.parts.pipeline._publish = cloud.parts.pipeline._publish, lambda records: publish([])
        await edge.deliver(*sent[:2])
        cloud.parts.pipeline._publish = publish
        await edge.deliver(sent[2])
        seen = [json.loads(e["data"])["id"] for e in await take(events, 3)]
    assert seen == [p.frame_id for p in sent]


async def test_silence_has_a_heartbeat(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.api.events.HEARTBEAT_SECONDS", 0.1)
    async with cloud.http.stream("GET", "/v1/events") as answer, asyncio.timeout(PATIENCE):
        said = [line async for line in _first(answer.aiter_lines(), 7) if line]
        assert said == [": midstream", "retry: 2000", "id: 0", ": ping", ": ping"]


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield await anext(lines)


async def test_a_rendered_result_is_the_stored_one(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, cloud.payload({(1, 1, 1): 0.8})))
    (row,) = await cloud.parts.store.results(Filters(), 10)
    async with listening(cloud, after=0) as events:
        (event,) = await take(events, 1)
    assert json.loads(event["data"])["timing"] == json.loads(row.timing)
