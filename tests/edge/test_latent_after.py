"""A bundle whose base layer is learned: frames after others, what the ring keeps of them, pictures coded upon that."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from common import feature_codec
from common.bundle import Bundle
from common.codec import State, unpack
from common.codec.container import Container, Layer
from common.scalable import LatentFeatures, PictureLayers
from common.wire import stream_pb2 as pb
from tests.edge.conftest import Start
from tests.edge.peer import Answer, ack, nack, until
from tests.edge.pictures import jpeg
from tests.edge.test_anew import LOST, Holding, after, post
from tests.edge.test_layers import ask, opened, psnr, seen

SIZE = 320, 240
PICTURE = jpeg(*SIZE, 7)


@pytest.fixture
async def holding(two: Bundle) -> AsyncIterator[Holding]:
    peer = await Holding(two.path).start()
    yield peer
    await peer.stop()


def standing(bundle: Bundle, packets: list[pb.Packet]) -> list[Layer]:
    """The base layer of each frame as it decodes alone, by a cloud that has got them all."""
    codec = feature_codec.of(bundle)
    assert isinstance(codec, LatentFeatures)
    held, found = dict[bytes, State](), []
    for packet in packets:
        container = unpack(packet.payload)
        read = codec.read(container.layers, bundle.manifest.input.window(*SIZE), held.get)
        if read.state is not None:
            held[read.state.name] = read.state
        found.append(read.standing or container.layers[0])
    return found


async def test_pictures_are_coded_upon_frames_that_went_after_others(
    start: Start, holding: Holding, two: Bundle
) -> None:
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 3, holding)
        assert [after(packet) for packet in holding.packets] == [False, True, True]
        base, last = standing(two, holding.packets)[-1], holding.packets[-1]
        reply = opened(await ask(holding, last.frame_id))
        whole = opened(await ask(holding, last.frame_id, with_base=True))
        assert opened(await ask(holding, last.frame_id, "base")).layers == [base]
    assert whole.layers == [base, *reply.layers] and whole.keyframe
    shown = PictureLayers.open(two).decode([base, *reply.layers], *SIZE)
    assert psnr(shown, seen(PICTURE)) > 20


async def test_pixels_that_go_along_are_upon_what_the_cloud_will_make_of_the_frame(
    start: Start, holding: Holding, two: Bundle
) -> None:
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 2, holding)
        answer = await edge.http.post(
            "/v1/frames?pixels=full", content=PICTURE, headers={"content-type": "image/jpeg", "x-camera-id": "door"}
        )
        assert answer.status_code == 202
        await until(lambda: len(holding.packets) == 3)
    container = unpack(holding.packets[-1].payload)
    assert after(holding.packets[-1]) and [layer.kind for layer in container.layers] == [0, 1]
    base = standing(two, holding.packets)[-1]
    shown = PictureLayers.open(two).decode([base, container.layers[1]], *SIZE)
    assert psnr(shown, seen(PICTURE)) > 20


async def test_what_the_cloud_lost_comes_anew_as_the_very_same_frame(start: Start, holding: Holding) -> None:
    """What was coded upon it stays right."""
    refused: list[pb.Packet] = []

    def verdict(packet: pb.Packet) -> Answer:
        if after(packet):
            refused.append(packet)
            return nack(packet, LOST, "not held")
        return ack(packet)

    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 1, holding)
        holding.verdict = verdict
        await post(edge, 1, holding)
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 2)
        (lost,), again = refused, holding.packets[-1]
        assert again.anew and again.seq == lost.seq and unpack(again.payload).keyframe
        kept = opened(await ask(holding, lost.frame_id, "base"))
    assert unpack(again.payload).layers == kept.layers


def containers(packets: list[pb.Packet]) -> list[Container]:
    return [unpack(packet.payload) for packet in packets]


async def test_the_bytes_of_a_still_camera_are_few(start: Start, holding: Holding) -> None:
    async with start(holding, ready=False) as edge:
        await until(lambda: edge.parts.codecs.current is not None, 60)
        await post(edge, 5, holding)
    first, *others = (len(container.layers[0].payload) for container in containers(holding.packets))
    assert np.mean(others) < 0.35 * first
