"""Layers in tiles and layers for their own sake: coded once, cut for each request, never beside what they are upon."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import Layer, unpack
from common.layers import checksum
from common.scalable import PictureLayers
from common.scalable.regions import Region
from common.wire import stream_pb2 as pb
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import save, scene
from tests.edge.test_layers import ask, opened, post
from tests.scalable import tiny

SIZE = WIDTH, HEIGHT = 260, 200
SCENE = scene(*SIZE)
PICTURE, FILE = np.array(SCENE), save(SCENE, "PNG")


@pytest.fixture(scope="session")
def frequency(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """low and full, in tiles"""
    return tiny.write(tmp_path_factory.mktemp("frequency"), tiny.FREQUENCY)


@pytest.fixture(scope="session")
def denoise(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """clean and noisy"""
    return tiny.write(tmp_path_factory.mktemp("denoise"), tiny.DENOISE)


@pytest.fixture
async def cloud(frequency: Bundle) -> AsyncIterator[Peer]:
    peer = await Peer(frequency.path).start()
    yield peer
    await peer.stop()


async def request(peer: Peer, frame_id: str, *regions: Region, layer: str = "full", **more: int) -> pb.LayerReply:
    said = pb.LayerRequest(request_id=f"r{len(peer.replies)}", frame_id=frame_id, layer=layer, **more)
    said.regions.extend(pb.Region(**region._asdict()) for region in regions)
    peer.say(pb.IngestResponse(layer_request=said))
    await until(lambda: any(reply.request_id == said.request_id for reply in peer.replies))
    return next(reply for reply in peer.replies if reply.request_id == said.request_id)


async def test_a_layer_in_tiles_is_coded_once_and_cut(start: Start, cloud: Peer, frequency: Bundle) -> None:
    layers, roi = PictureLayers.open(frequency), Region(30, 40, 50, 60)
    async with start(cloud) as edge:
        frame_id = await post(edge, FILE)
        low, part = opened(await request(cloud, frame_id, roi)).layers
        known = await edge.parts.spool.layers(frame_id)
        assert known[1, tiny.DEFAULT] == low.payload and list(known) == [(1, tiny.DEFAULT), (2, tiny.DEFAULT)]
        full = Layer(2, known[2, tiny.DEFAULT])
        assert part == layers.cut(full, [roi], *SIZE) and len(part.payload) < len(full.payload)
        assert layers.tiles(full, *SIZE).all()
        assert np.abs(layers.decode([low, full], *SIZE).astype(int) - PICTURE).mean() < 16

        # Who has what is below gets no more than the tiles; who has something else gets what they are coded upon.
        there = checksum([low])
        other = Region(200, 150, 60, 50)
        assert opened(await request(cloud, frame_id, other, below=there)).layers == [layers.cut(full, [other], *SIZE)]
        assert opened(await request(cloud, frame_id, below=there)).layers == [full]
        assert opened(await request(cloud, frame_id, below=there ^ 1)).layers == [low, full]
        assert opened(await request(cloud, frame_id, layer="low")).layers == [low]
        assert 'midstream_feature_bytes_count{layer="full"} 1.0' in (await edge.http.get("/metrics")).text
        finer = opened(await request(cloud, frame_id, roi, quality=400, below=there)).layers
        assert [layer.payload[:2] for layer in finer] == [(400).to_bytes(2, "big")] * 2, "both of one quality"
        assert finer[0] == layers.encode("low", PICTURE, [], 400)


async def test_what_is_coded_upon_something_new_is_new(start: Start, cloud: Peer, frequency: Bundle) -> None:
    """Whatever of it the ring has, it fits no other bytes."""
    async with start(cloud) as edge:
        frame_id = await post(edge, FILE)
        spool = edge.parts.spool
        await spool.keep_layer(frame_id, 2, tiny.DEFAULT, (tiny.DEFAULT).to_bytes(2, "big") + b"upon another")
        _, full = opened(await ask(cloud, frame_id)).layers
        assert PictureLayers.open(frequency).tiles(full, *SIZE, sound=True).all()
        assert (await spool.layers(frame_id))[2, tiny.DEFAULT] == full.payload
        for quality in (300, 301, 302):
            await ask(cloud, frame_id, quality=quality)
        assert sorted(await spool.layers(frame_id)) == [(1, 256), (1, 300), (2, 256), (2, 300)]


async def test_requests_that_cannot_be_met(start: Start, cloud: Peer, denoise: Bundle, tmp_path: Path) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, FILE)
        outside = [
            (0, 0, 0, 5),
            (0, 0, 261, 1),
            (259, 199, 2, 1),
            (0, 200, 1, 1),
            (2**32 - 1, 0, 2, 2),
            (5, 5, 1, 2**32 - 1),
        ]
        for numbers in outside:
            reply = await request(cloud, frame_id, Region(1, 1, 5, 5), Region(*numbers))
            assert reply.status == pb.LAYER_STATUS_INVALID and "260x200" in reply.detail, numbers
        reply = await request(cloud, frame_id, *[Region(0, 0, 1, 1)] * 65)
        assert reply.status == pb.LAYER_STATUS_INVALID and "64" in reply.detail
        assert (await request(cloud, frame_id, *[Region(0, 0, 1, 1)] * 64)).status == pb.LAYER_STATUS_OK
        reply = await request(cloud, frame_id, Region(0, 0, 5, 5), layer="low")
        assert reply.status == pb.LAYER_STATUS_INVALID and "not coded in tiles" in reply.detail
        for layer in ("noisy", "mask"):
            assert (await request(cloud, frame_id, layer=layer)).status == pb.LAYER_STATUS_UNKNOWN_LAYER
        await fuzzed(edge, cloud, frame_id)


async def fuzzed(edge: Edge, cloud: Peer, frame_id: str) -> None:
    """Whatever is asked for, it is answered, and the next frame is taken."""
    dice = random.Random(5)
    numbers = [0, 1, 15, 16, 64, 199, 200, 260, 2**16, 2**31, 2**32 - 1]
    for _ in range(60):
        regions = [Region(*(dice.choice(numbers) for _ in range(4))) for _ in range(dice.randrange(4))]
        more = {"quality": dice.choice([0, 1, 256, 511, 512, 2**32 - 1]), "below": dice.choice(numbers)}
        layer = dice.choice(["low", "full", "base", "original", "clean", "", "full\0", "x" * 1000])
        reply = await request(cloud, frame_id, *regions, layer=layer, **(more if dice.random() < 0.5 else {}))
        assert reply.status not in (pb.LAYER_STATUS_UNSPECIFIED, pb.LAYER_STATUS_FAILED), (regions, more, layer)
        assert (reply.status == pb.LAYER_STATUS_OK) == bool(reply.payload)
    assert await post(edge, FILE)


async def test_pixels_that_travel_along(start: Start, cloud: Peer, denoise: Bundle, tmp_path: Path) -> None:
    for number, (folder, expected) in enumerate({cloud.folder: "low", denoise.path: "clean"}.items()):
        cloud.folder = folder
        async with start(cloud, data_dir=tmp_path / str(number)) as edge:
            await until(lambda: edge.parts.uplink and edge.parts.uplink.state.up)
            for asked_for, kinds in (("base", [0, 1]), ("full", [0, 1, 2]), ("none", [0])):
                cloud.packets.clear()
                answer = await edge.http.post(f"/v1/frames?pixels={asked_for}&wait=20s", content=FILE)
                assert answer.status_code == 200, answer.text
                assert answer.json().get("pixels") == (None if asked_for == "none" else "sent")
                layers = unpack(cloud.packets[0].payload).layers
                assert [layer.kind for layer in layers] == kinds
            frame_id = answer.json()["id"]
            assert opened(await ask(cloud, frame_id, expected)).layers == layers_of(folder, expected)
            assert (await edge.http.post("/v1/frames?pixels=low", content=FILE)).status_code == 422


def layers_of(folder: Path | None, name: str) -> list[Layer]:
    assert folder
    return [PictureLayers.open(bundles.load(folder, "edge")).encode(name, PICTURE, [])]
