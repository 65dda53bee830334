"""/v1/events: every result once and in order, whenever one joins and however slow one reads."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloud.hub import Hub
from cloud.store import Filters
from tests.cloud.conftest import Running
from tests.cloud.speaker import PATIENCE, packet, until


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Server-sent events as a browser sees them."""
    event: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            event[name] = value.removeprefix(" ")
        elif not line:
            if "data" in event:
                yield event
            event = {}


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
    following = hub.follow(None, heartbeat=PATIENCE)
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


async def test_silence_has_a_heartbeat(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.api.events.HEARTBEAT_SECONDS", 0.1)
    async with cloud.http.stream("GET", "/v1/events") as answer, asyncio.timeout(PATIENCE):
        lines = answer.aiter_lines()
        assert [line async for line in _first(lines, 6) if line] == [": midstream", "retry: 2000", ": ping", ": ping"]


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
