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
from edge import anew
from edge.spool import Pending
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Answer, Peer, ack, nack, silent, until
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
        text = (await edge.http.get("/metrics")).text
        (held,) = (line.split()[1] for line in text.splitlines() if line.startswith("midstream_reference_bytes "))
        assert float(held) == edge.parts.intake.references.bytes > 2 * 20_000, "of both cameras"
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
    async with start(holding, ready=False, ring_max_bytes=1) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        await until(lambda: edge.parts.spool.stats.ended.get(("failed", "missing reference")) == 1)
        await post(edge, 1, holding)


async def test_a_picture_that_cannot_be_read_fails_its_frame_and_no_other(start: Start, holding: Holding) -> None:
    """To begin the stream again would come back to it for ever."""
    holding.verdict = lambda packet: nack(packet, LOST, "not held") if after(packet) else ack(packet)
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 1, holding)
        (segment,) = (edge.parts.settings.data_dir / "pictures").iterdir()
        segment.unlink()
        segment.symlink_to(segment)
        answer = await edge.post(jpeg(320, 240, 7), x_camera_id="door")
        await until(lambda: edge.parts.spool.stats.ended.get(("failed", "missing reference")) == 1)
        assert "symbolic links" in await edge.state(answer.json()["id"])
        await post(edge, 1, holding, "yard")
        assert len(holding.hellos) == 1


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


async def test_without_any_picture_what_is_coded_alone_goes_again_as_it_is(start: Start, holding: Holding) -> None:
    """A camera is not blocked for ever by one frame that cannot be had, whatever the mode of those behind it."""
    lost, taken = False, []

    def verdict(packet: pb.Packet) -> Answer:
        nonlocal lost
        lost = not packet.anew and (lost or not unpack(packet.payload).keyframe)
        if lost:
            return nack(packet, LOST, "not held")
        taken.append(packet)
        return ack(packet)

    holding.verdict = verdict
    async with start(holding, ready=False, ring_max_bytes=1) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        await until(lambda: edge.parts.spool.stats.ended.get(("failed", "missing reference")) == 1)
        answer = await edge.http.patch("/v1/operating-point", json={"mode": "image", "camera": "door"})
        assert answer.status_code == 200
        await post(edge, 2, holding)
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 3)
    codecs = [unpack(packet.payload).codec for packet in taken]
    assert codecs == [1, 3, 3] and [packet.anew for packet in taken] == [False, True, False]
    (refused, again) = (packet for packet in holding.packets if packet.seq == taken[1].seq)
    assert refused.payload == again.payload


async def test_only_the_camera_that_lost_a_reference_waits(
    start: Start, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, coded = asyncio.Event(), anew.Anew.coded

    async def slowly(self: anew.Anew, frame: Pending) -> bytes:
        await gate.wait()
        return await coded(self, frame)

    monkeypatch.setattr(anew.Anew, "coded", slowly)
    holding.verdict = lambda p: nack(p, LOST, "not held") if p.camera == "door" and after(p) else ack(p)
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding, "door")
        ids = [(await edge.post(jpeg(320, 240, 7), x_camera_id="door")).json()["id"] for _ in range(2)]
        await post(edge, 3, holding, "yard")
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 4)
        assert not {packet.frame_id for packet in holding.packets} & set(ids)
        gate.set()
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 7)
    door = [packet.seq for packet in holding.packets if packet.camera == "door" and not after(packet)]
    assert door == sorted(door) and len(door) == 4
    assert len(holding.hellos) == 1


async def test_what_goes_anew_keeps_to_the_window(start: Start, holding: Holding) -> None:
    """The cloud ends a stream that has more in flight; other cameras' frames wait for the credits."""
    holding.window, most, flying = 2, 0, set()
    held: list[pb.Packet] = []

    def verdict(packet: pb.Packet) -> Answer:
        nonlocal most
        flying.add(packet.seq)
        most = max(most, len(flying))
        if after(packet):
            flying.discard(packet.seq)
            return nack(packet, LOST, "not held")
        if packet.camera == "yard" or packet.anew:
            held.append(packet)  # answered below, so that the window stays full for a while
            return None
        flying.discard(packet.seq)
        return ack(packet)

    async def answering() -> None:
        while True:
            await asyncio.sleep(0.1)
            if held:
                flying.discard(held[0].seq)
                holding.say(ack(held.pop(0)))

    holding.verdict = verdict
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 1, holding)
        answers = asyncio.create_task(answering())
        for i in range(9):
            assert (await edge.post(jpeg(320, 240, 7), x_camera_id="yard" if i % 3 else "door")).status_code == 202
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 10, 60)
        answers.cancel()
    assert any(packet.anew for packet in holding.packets)
    assert most == 2 and len(holding.hellos) == 1


async def test_what_waits_is_coded_alone_while_the_cloud_is_away(
    start: Start, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later its picture may have gone from the ring, and its reference from the cloud."""
    monkeypatch.setattr(anew, "AWAY_S", 0.1)
    monkeypatch.setattr(anew, "LOOK_S", 0.1)
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        holding.verdict = silent
        await post(edge, 2, holding)
        assert [after(packet) for packet in holding.packets] == [False, True, True, True]
        await holding.stop()
        spool, done = edge.parts.spool, edge.parts.spool.stats.queued_bytes
        for _ in range(200):
            waiting = await spool.waiting(0, 10, 1 << 20)
            if all(unpack(frame.payload).keyframe for frame in waiting):
                break
            await asyncio.sleep(0.1)
        assert [unpack(frame.payload).keyframe for frame in waiting] == [True, True]
        await spool.settle()
        assert spool.stats.queued_bytes == sum(len(frame.payload) for frame in waiting) > done
        holding.verdict = ack
        await holding.start()
        await until(lambda: spool.stats.ended.get(("done", "")) == 4, 60)
    assert [(after(packet), packet.anew) for packet in holding.packets[4:]] == [(False, False)] * 2
