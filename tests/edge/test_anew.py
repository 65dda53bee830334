"""The edge codes frames after acked ones, and anew what the cloud could not decode: in order, once, or failed."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from bench.networks import shipped
from common.codec import unpack
from common.codec.temporal import tables_name
from common.codec.transform import AFTER
from common.wire import stream_pb2 as pb
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Answer, Peer, ack, nack, until
from tests.edge.pictures import jpeg

LOST = pb.NACK_REASON_MISSING_REFERENCE


class Holding(Peer):
    """A cloud that holds references."""

    memory = b"memory-1"

    async def _read(self, requests: AsyncIterator[pb.IngestRequest], down: "asyncio.Queue[pb.IngestResponse]") -> None:
        class Down(asyncio.Queue[pb.IngestResponse]):
            def put_nowait(_, item: pb.IngestResponse) -> None:  # noqa: N805
                if item.HasField("welcome"):
                    item.welcome.references = tables_name() + self.memory
                down.put_nowait(item)

        await super()._read(requests, Down())


@pytest.fixture
async def holding() -> AsyncIterator[Holding]:
    peer = await Holding(shipped()).start()
    yield peer
    await peer.stop()


def after(packet: pb.Packet) -> bool:
    """Whether it was coded after another; the container says the same."""
    container = unpack(packet.payload)
    said = bool(int.from_bytes(container.layers[0].payload[:2], "big") & AFTER)
    assert said is not container.keyframe
    return said


async def post(edge: Edge, count: int, peer: Peer, camera: str = "door") -> None:
    """One after the other, each when the one before was answered for."""
    for _ in range(count):
        before = len(peer.packets)
        answer = await edge.post(jpeg(320, 240, 7), x_camera_id=camera)
        assert answer.status_code == 202
        await until(lambda before=before: len(peer.packets) > before)
        await asyncio.sleep(0.05)


async def test_a_still_camera_is_coded_after_what_was_acked(start: Start, holding: Holding) -> None:
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 4, holding)
        await post(edge, 1, holding, "yard")
    assert [after(packet) for packet in holding.packets] == [False, True, True, True, False]
    sizes = [len(packet.payload) for packet in holding.packets]
    assert max(sizes[1:4]) < 0.3 * sizes[0]


@pytest.mark.parametrize("settings", [{"temporal": "off"}, {"keyframes": 1}])
async def test_it_can_be_turned_off(start: Start, holding: Holding, settings: dict[str, object]) -> None:
    async with start(holding, ready=False, **settings) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 3, holding)
    assert not any(after(packet) for packet in holding.packets)


async def test_a_cloud_that_holds_none_gets_none(start: Start) -> None:
    peer = await Peer(shipped()).start()
    try:
        async with start(peer, ready=False) as edge:
            await until(lambda: edge.parts.codecs.current is not None, 60)
            await post(edge, 3, peer)
    finally:
        await peer.stop()
    assert not any(after(packet) for packet in peer.packets)


async def test_what_the_cloud_lost_comes_anew_and_in_order(start: Start, holding: Holding) -> None:
    """As the cloud does it: from the frame that lacks its reference on, nothing of the camera is taken but anew."""
    lost = False
    taken: list[pb.Packet] = []

    def verdict(packet: pb.Packet) -> Answer:
        nonlocal lost
        if packet.camera == "door" and not packet.anew and (lost or after(packet)):
            lost = True
            return nack(packet, LOST, "not held")
        lost = lost and packet.camera != "door"
        taken.append(packet)
        return ack(packet)

    holding.verdict = verdict
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        ids = []
        for i in range(12):
            answer = await edge.post(jpeg(320, 240, 7), x_camera_id="door" if i % 3 else "yard")
            ids.append(answer.json()["id"])
            await asyncio.sleep(random.Random(i).random() / 20)
        await until(lambda: len({packet.seq for packet in taken}) == 12, 30)
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 12)
    assert any(packet.anew for packet in taken)
    assert not any(after(packet) for packet in taken if packet.anew)
    assert len(taken) == 12
    door = [packet.frame_id for packet in taken if packet.camera == "door"]
    assert door == [frame for i, frame in enumerate(ids) if i % 3]


async def test_without_its_picture_a_lost_frame_fails_with_the_reason(start: Start, holding: Holding) -> None:
    holding.verdict = lambda packet: nack(packet, LOST, "not held") if after(packet) else ack(packet)
    async with start(holding, ready=False, ring_max_bytes=0) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        await until(lambda: edge.parts.spool.stats.ended.get(("failed", "missing reference")) == 1)
        await post(edge, 1, holding)


async def test_another_memory_holds_nothing(start: Start, holding: Holding) -> None:
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        holding.memory = b"memory-2"
        holding.hang_up()
        await until(lambda: len(holding.hellos) == 2, 30)
        await until(lambda: edge.parts.uplink is not None and edge.parts.uplink.state.up)
        await post(edge, 2, holding)
    assert [after(packet) for packet in holding.packets] == [False, True, False, True]
