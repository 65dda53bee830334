"""The writer of results: what it says of its queue, and what must not stop it."""

import pytest

from cloud.store import Record
from tests.cloud.conftest import Running
from tests.cloud.speaker import packet

WAITING = 'midstream_queue_depth{queue="store"}'


async def test_what_is_stored_waits_no_more(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(packet(seq, cloud.payload()) for seq in range(3)))
    assert WAITING in (await cloud.http.get("/metrics")).text
    assert await cloud.counter(WAITING) == 0


async def test_what_cannot_be_published_stops_nobody(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: list[Record]) -> None:
        raise ArithmeticError("a mistake of ours")

    async with cloud.edge() as edge:
        with monkeypatch.context() as patched:
            patched.setattr(cloud.parts.pipeline, "_publish", fail)
            await edge.deliver(packet(0, cloud.payload()))
        await edge.deliver(packet(1, cloud.payload()))
    assert [r["number"] for r in (await cloud.json("/v1/results", order="asc"))["results"]] == [1, 2]
    assert cloud.parts.pipeline.alive
