"""What comes when the cloud asks for a layer of a frame: decoded as the cloud decodes it, from what the edge sent."""

import asyncio
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from common.bundle import Bundle
from common.codec import Container, Layer, unpack
from common.scalable import PictureLayers
from common.types import Mode
from common.wire import stream_pb2 as pb
from edge import enhance
from edge.encode import Encoder
from edge.layers import CONTAINER_TYPE, Answer, Layers
from edge.points import Choice
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import jpeg, save, scene
from tests.edge.test_spool import frame
from tests.scalable import tiny


async def ask(peer: Peer, frame_id: str, layer: str = "full", **more: int) -> pb.LayerReply:
    name = f"r{len(peer.replies)}"
    request = pb.LayerRequest(request_id=name, frame_id=frame_id, layer=layer, **more)
    peer.say(pb.IngestResponse(layer_request=request))
    await until(lambda: any(reply.request_id == name for reply in peer.replies))
    return next(reply for reply in peer.replies if reply.request_id == name)


async def post(edge: Edge, data: bytes, **more: str) -> str:
    answer = await edge.post(data, wait="10s", **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def opened(reply: pb.LayerReply) -> Container:
    assert reply.status == pb.LAYER_STATUS_OK, reply.detail
    assert reply.content_type == CONTAINER_TYPE
    return unpack(reply.payload)


def seen(data: bytes) -> np.ndarray:
    """The picture a person sees: what Pillow makes of it, upright."""
    import io

    from PIL import Image, ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


async def test_the_enhancement_fits_what_was_sent(start: Start, cloud: Peer, two: Bundle) -> None:
    data = jpeg(200, 150)
    async with start(cloud) as edge:
        frame_id = await post(edge, data)
        sent = unpack(cloud.packets[0].payload)
        assert [layer.kind for layer in sent.layers] == [0]
        reply = opened(await ask(cloud, frame_id))
        assert [layer.kind for layer in reply.layers] == [1]
        assert (reply.bundle, reply.codec, reply.quality) == (sent.bundle, sent.codec, sent.quality)
        assert (reply.width, reply.height) == (200, 150)
        picture = PictureLayers.open(two).decode([*sent.layers, *reply.layers], 200, 150)
        assert psnr(picture, seen(data)) > 20
        whole = opened(await ask(cloud, frame_id, with_base=True))
        assert whole.layers == [*sent.layers, *reply.layers]
        assert opened(await ask(cloud, frame_id, "base")).layers == sent.layers
        original = await ask(cloud, frame_id, "original")
        assert original.payload == data and original.content_type == "image/jpeg"


async def test_each_quality_is_one_layer(start: Start, cloud: Peer, two: Bundle) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg(96, 64))
        usual, low, high = [opened(await ask(cloud, frame_id, quality=q)).layers[0].payload for q in (0, 64, 448)]
        assert len(low) < len(usual) < len(high)
        assert opened(await ask(cloud, frame_id, quality=tiny.DEFAULT)).layers[0].payload == usual
        for wrong in (tiny.HIGHEST + 1, 65535, 1 << 20):
            reply = await ask(cloud, frame_id, quality=wrong)
            assert reply.status == pb.LAYER_STATUS_INVALID and "0 to 511" in reply.detail and not reply.payload


@pytest.mark.parametrize(
    "data",
    [
        save(scene(16, 16), "PNG"),
        save(scene(33, 17), "WEBP", lossless=True),
        save(scene(1, 1), "PNG"),
        save(scene(90, 61).convert("L"), "PNG"),
        save(scene(61, 90).convert("RGBA"), "PNG"),
        jpeg(123, 77, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        jpeg(1500, 40),
        save(scene(1000, 50), "PNG"),
    ],
    ids=["16x16", "odd", "1x1", "grey", "alpha", "turned", "wide", "large"],
)
async def test_any_picture(start: Start, cloud: Peer, two: Bundle, data: bytes) -> None:
    picture = seen(data)
    height, width = picture.shape[:2]
    async with start(cloud) as edge:
        frame_id = await post(edge, data)
        layers = opened(await ask(cloud, frame_id, with_base=True, quality=tiny.HIGHEST)).layers
        decoded = PictureLayers.open(two).decode(layers, width, height)
        assert decoded.shape == (height, width, 3)
        expected = PictureLayers.open(two).encode("full", np.ascontiguousarray(picture), layers, tiny.HIGHEST)
        best = PictureLayers.open(two).decode([layers[0], expected], width, height)
        # The edge coded all pixels, upright, and the same that a person sees: no coarser, not turned.
        assert psnr(decoded, best) > 35
        assert layers[1] == expected or data.startswith(b"\xff\xd8"), "JPEG decoders differ by one now and then"


async def test_a_mask_and_the_picture_on_it(start: Start, cloud: Peer, three: Bundle) -> None:
    cloud.folder = three.path
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg(120, 80))
        (base,) = unpack(cloud.packets[0].payload).layers
        (mask,) = opened(await ask(cloud, frame_id, "mask")).layers
        assert mask.kind == 1
        fine = opened(await ask(cloud, frame_id, "mask", quality=500)).layers[0]
        assert len(fine.payload) > len(mask.payload)
        below, full = opened(await ask(cloud, frame_id, "full")).layers
        assert below == mask and full.kind == 2, "the picture builds on the usual mask, whoever asked for another"
        layers = PictureLayers.open(three)
        assert layers.decode([base, mask, full], 120, 80).shape == (80, 120, 3)
        assert layers.mask([base, mask], 120, 80).shape == (80, 120)


async def test_what_was_coded_is_not_coded_again(start: Start, cloud: Peer, two: Bundle) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg())
        first = opened(await ask(cloud, frame_id))
        assert list(await edge.parts.spool.layers(frame_id)) == [(1, tiny.DEFAULT)]
        text = (await edge.http.get("/metrics")).text
        assert 'midstream_feature_bytes_count{layer="full"} 1.0' in text
        assert opened(await ask(cloud, frame_id)) == first
        assert (await edge.http.get("/metrics")).text.count('midstream_feature_bytes_count{layer="full"} 1.0') == 1
    async with start(cloud) as edge:
        assert opened(await ask(cloud, frame_id)) == first, "kept over a restart"
        assert 'midstream_feature_bytes_count{layer="full"}' not in (await edge.http.get("/metrics")).text


async def test_a_frame_without_layers_is_its_picture(start: Start, peer: Peer, cloud: Peer) -> None:
    data = jpeg()
    async with start(peer) as edge:
        frame_id = await post(edge, data)
        assert (await ask(peer, frame_id, "full")).payload == data
        for layer in ("base", "mask"):
            assert (await ask(peer, frame_id, layer)).status == pb.LAYER_STATUS_UNKNOWN_LAYER
    async with start(cloud, data_dir=Path(edge.parts.settings.data_dir) / "other") as edge:
        edge.parts.points.set(Choice(Mode.IMAGE, 75))
        frame_id = await post(edge, data)
        reply = await ask(cloud, frame_id, "full")
        assert reply.payload == data and reply.content_type == "image/jpeg"
        edge.parts.points.set(Choice(Mode.SPLIT, tiny.DEFAULT))
        frame_id = await post(edge, data)
        reply = await ask(cloud, frame_id, "mask")
        assert reply.status == pb.LAYER_STATUS_UNKNOWN_LAYER and "'mask'; it has full" in reply.detail


async def test_one_is_coded_and_some_wait_the_rest_is_told_so(
    start: Start, cloud: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(cloud) as edge:
        data = jpeg()
        frame_id = await post(edge, data)
        async with edge.parts.enhancer.turn():
            for i in range(enhance.PLACES + 3):
                request = pb.LayerRequest(request_id=f"q{i}", frame_id=frame_id, layer="full")
                peer_says = pb.IngestResponse(layer_request=request)
                cloud.say(peer_says)
            await until(lambda: len(cloud.replies) == 4)
            assert {reply.status for reply in cloud.replies} == {pb.LAYER_STATUS_BUSY}
            assert (await ask(cloud, frame_id, "original")).payload == data, "an original need not wait for them"
            await post(edge, jpeg(seed=1))  # nor does a frame
        await until(lambda: len(cloud.replies) == enhance.PLACES + 4)
        answered = [reply.status for reply in cloud.replies if reply.request_id.startswith("q")]
        assert answered.count(pb.LAYER_STATUS_OK) == enhance.PLACES - 1
        assert edge.parts.enhancer.waiting == 0


async def test_layers_need_not_wait_for_an_original_on_a_slow_link(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg())
        layers = Layers(edge.parts.spool, edge.parts.enhancer)
        wanted = {name: pb.LayerRequest(frame_id=frame_id, layer=name) for name in ("original", "base", "full", "mask")}
        async with layers.answer(wanted["original"]) as original, asyncio.timeout(20):
            assert original.payload == jpeg()
            for name, status in (("base", "OK"), ("full", "OK"), ("mask", "UNKNOWN_LAYER")):
                async with layers.answer(wanted[name]) as answer:
                    assert answer.status == pb.LayerStatus.Value(f"LAYER_STATUS_{status}")
            second = asyncio.create_task(answered(layers, wanted["original"]))
            _, waiting = await asyncio.wait([second], timeout=0.3)
            assert waiting, "one original in memory at a time"
        assert (await second).payload == jpeg()


async def test_who_looks_does_not_hide_that_the_link_is_full(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        await until(lambda: edge.parts.uplink and edge.parts.uplink.state.up)
        assert edge.parts.uplink
        goodput, began = edge.parts.uplink.goodput, time.monotonic()
        for second in range(10):  # 20 kB/s on a link of 10 kB/s
            for frame in (2 * second, 2 * second + 1):
                goodput.sent(frame, 10_000, began + frame / 2)
            assert (await ask(cloud, "nobody")).status == pb.LAYER_STATUS_GONE
            goodput.acked(second, began + second + 1, held=0.0)
        assert goodput.rate == pytest.approx(10_000)


async def test_a_link_that_breaks_while_a_layer_is_coded_frees_its_place(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg())
        enhancer, coding, go_on = edge.parts.enhancer, threading.Event(), threading.Event()
        find = enhancer.find

        def slowly(prefix: bytes) -> Bundle | None:
            coding.set()
            go_on.wait()
            return find(prefix)

        enhancer.find = slowly
        try:
            cloud.say(pb.IngestResponse(layer_request=pb.LayerRequest(frame_id=frame_id, layer="full")))
            await until(coding.is_set)
            assert enhancer.waiting == 1
            cloud.hang_up()
            await until(lambda: len(cloud.hellos) == 2)
            assert enhancer.waiting == 0
            async with asyncio.timeout(20), enhancer.turn():
                pass
        finally:
            go_on.set()
        assert [layer.kind for layer in opened(await ask(cloud, frame_id)).layers] == [1]
        assert len(cloud.replies) == 1, "the first was for nobody"


async def test_a_link_that_breaks_with_an_original_on_it_lets_the_next_go(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        request = pb.LayerRequest(frame_id=await post(edge, jpeg()), layer="original")
        layers, on_its_way = Layers(edge.parts.spool, edge.parts.enhancer), asyncio.Event()

        async def send() -> None:
            async with layers.answer(request):
                on_its_way.set()
                await asyncio.Event().wait()

        sending = asyncio.create_task(send())
        await on_its_way.wait()
        waiting = asyncio.create_task(answered(layers, request))
        await asyncio.sleep(0)
        for each in (waiting, sending):
            each.cancel()
        await asyncio.wait([waiting, sending])
        async with asyncio.timeout(20):
            assert (await answered(layers, request)).payload == jpeg()


async def test_what_cannot_be_read_is_an_answer_and_not_for_good(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        frame_id = await post(edge, jpeg())
        (segment,) = (edge.parts.settings.data_dir / "pictures").iterdir()
        there = segment.rename(segment.with_suffix(".there"))
        segment.symlink_to(segment)
        for layer in ("full", "base", "original"):
            reply = await ask(cloud, frame_id, layer)
            assert reply.status == pb.LAYER_STATUS_FAILED and "symbolic links" in reply.detail
        there.rename(segment)
        assert (await ask(cloud, frame_id, "original")).payload == jpeg()
        assert len(cloud.hellos) == 1, "the stream goes on"


async def test_a_container_that_cannot_be_read_is_an_answer(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        accepted = await edge.parts.spool.put(frame(picture=jpeg(), container=b"no container"))
        layers = Layers(edge.parts.spool, edge.parts.enhancer)
        for name in ("base", "full"):
            answer = await answered(layers, pb.LayerRequest(frame_id=accepted.frame_id, layer=name))
            assert answer.status == pb.LAYER_STATUS_FAILED and "19 bytes" in answer.detail


async def answered(layers: Layers, request: pb.LayerRequest) -> Answer:
    async with layers.answer(request) as answer:
        return answer


async def test_a_frame_of_another_bundle_is_coded_with_that_or_gone(
    start: Start, cloud: Peer, two: Bundle, tmp_path: Path
) -> None:
    other = tiny.write(tmp_path, tiny.TWO, seed=7)
    async with start(cloud) as edge:
        bundles = edge.parts.bundles
        before = await post(edge, jpeg(), x_camera_id="before")
        cloud.folder = other.path
        bundles.heard(other.digest)
        await until(lambda: bundles.running and bundles.running.digest == other.digest)
        after = await post(edge, jpeg(), x_camera_id="after")
        old, new = opened(await ask(cloud, before, with_base=True)), opened(await ask(cloud, after, with_base=True))
        assert (old.bundle, new.bundle) == (two.prefix, other.prefix)
        size = old.width, old.height
        assert psnr(PictureLayers.open(two).decode(old.layers, *size), seen(jpeg())) > 20
        assert psnr(PictureLayers.open(other).decode(new.layers, *size), seen(jpeg())) > 20
        folder = edge.parts.settings.data_dir / "bundles"
    shutil.rmtree(folder / two.digest)
    async with start(cloud) as edge:
        reply = await ask(cloud, before, quality=100)
        assert reply.status == pb.LAYER_STATUS_GONE and f"its bundle {two.prefix.hex()}… is gone" in reply.detail
        assert (await ask(cloud, before, "original")).payload == jpeg()


async def test_a_network_that_does_not_work_fails_alone(start: Start, cloud: Peer, two: Bundle, tmp_path: Path) -> None:
    async with start(cloud) as edge:
        data = jpeg()
        frame_id = await post(edge, data)
        assert edge.parts.bundles.running
        (edge.parts.bundles.running.path / "full_analysis.onnx").write_bytes(b"no network")
        reply = await ask(cloud, frame_id)
        assert reply.status == pb.LAYER_STATUS_FAILED and "full_analysis.onnx" in reply.detail
        answer = await edge.http.post("/v1/frames?pixels=full&wait=10s", content=data)
        assert answer.status_code == 200 and answer.json()["pixels"].startswith("failed: full_analysis.onnx")
        assert answer.json()["detections"]


async def test_a_picture_too_large_for_the_codec_is_still_its_original(start: Start, cloud: Peer) -> None:
    data = save(scene(4096, 4097).convert("1"), "PNG")
    async with start(cloud) as edge:
        frame_id = await post(edge, data)
        reply = await ask(cloud, frame_id)
        assert reply.status == pb.LAYER_STATUS_UNKNOWN_LAYER and "ask for the original" in reply.detail
        assert (await ask(cloud, frame_id, "original")).payload == data


async def test_a_shed_picture_is_gone_for_every_layer(start: Start, cloud: Peer) -> None:
    async with start(cloud, ring_max_bytes=40_000) as edge:
        ids = [await post(edge, jpeg(200, 200, seed)) for seed in range(8)]
        await ask(cloud, ids[-1])
        for layer in ("full", "base", "original"):
            reply = await ask(cloud, ids[0], layer)
            assert (reply.status, reply.detail) == (pb.LAYER_STATUS_GONE, "shed: ring full")
        assert (await ask(cloud, ids[-1])).status == pb.LAYER_STATUS_OK
        assert edge.parts.spool.stats.picture_bytes <= 40_000


async def test_ahead_only_if_told_to_and_only_the_newest(start: Start, cloud: Peer, tmp_path: Path) -> None:
    async with start(cloud, enhance="idle") as edge:
        ids = [await post(edge, jpeg(64, 64, seed)) for seed in range(3)]
        spool = edge.parts.spool
        async with asyncio.timeout(20):
            while await spool.unlayered(10):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        kept = [await spool.layers(frame_id) for frame_id in ids]
        assert [list(layers) for layers in kept] == [[(1, tiny.DEFAULT)]] * 3
        for frame_id, layers in zip(ids, kept, strict=True):
            assert opened(await ask(cloud, frame_id)).layers == [Layer(1, layers[1, tiny.DEFAULT])]
    async with start(cloud, data_dir=tmp_path / "asked") as edge:
        await post(edge, jpeg())
        await asyncio.sleep(1.0)
        assert len(await edge.parts.spool.unlayered(10)) == 1


def test_encoders_say_whether_there_are_layers(two: Bundle, bundle: Bundle) -> None:
    assert Encoder(two).layered and not Encoder(bundle).layered
