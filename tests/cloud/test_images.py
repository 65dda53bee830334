"""The picture as it was received: asked for once, kept when it comes, gone when it is gone."""

import asyncio
import io
import os
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from cloud import encoded
from cloud.opened import Opened
from cloud.synthesis import Synthesis
from common.errors import BitstreamError
from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running, Start
from tests.cloud.layered import settled
from tests.cloud.speaker import Edge, packet, until

JPEG = b"\xff\xd8\xff\xe0" + b"pixels" * 1000


async def stored(cloud: Running, edge: Edge, seq: int = 1) -> str:
    sent = packet(seq, cloud.payload())
    await edge.deliver(sent)
    return f"/v1/frames/{sent.frame_id}/image"


async def asked(edge: Edge) -> Any:
    message = await edge.hear()
    assert message.WhichOneof("message") == "layer_request"
    return message.layer_request


async def reply(edge: Edge, request: Any, **fields: Any) -> None:
    fields = {"status": wire.LAYER_STATUS_OK, "content_type": "image/jpeg", "payload": JPEG} | fields
    await edge.say(layer_reply=wire.LayerReply(request_id=request.request_id, **fields))


async def test_a_picture_is_fetched_once(cloud: Running) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        first, second = await asyncio.gather(cloud.http.get(path), cloud.http.get(path))
        assert first.status_code == second.status_code == 202
        request = await asked(edge)
        assert (request.layer, request.frame_id) == ("original", path.split("/")[3])
        await reply(edge, request)
        answer = await settled(cloud, path)
        assert answer.content == JPEG and answer.headers["content-type"] == "image/jpeg"
        # Asked once: what the edge hears next is the ack of a new packet.
        assert (await edge.deliver(packet(2, cloud.payload())))[0].seq == 2
    # It is here now, whether the edge is or not, and whoever has it need not load it again.
    etag = answer.headers["etag"]
    assert "immutable" in answer.headers["cache-control"]
    assert (await cloud.http.get(path, headers={"If-None-Match": etag})).status_code == 304
    assert (await cloud.http.get(path)).content == JPEG


async def test_what_the_edge_has_shed_is_gone(cloud: Running) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        await cloud.http.get(path)
        await reply(
            edge, await asked(edge), status=wire.LAYER_STATUS_GONE, payload=b"", detail="shed: the disk was full"
        )
        answer = await settled(cloud, path)
    assert answer.status_code == 410 and "the disk was full" in answer.json()["detail"]
    assert answer.json()["type"] == "urn:midstream:problem:pixels-gone"
    assert (await cloud.http.get(path)).status_code == 410  # remembered with the edge away


async def test_what_is_not_a_picture_is_not_kept(cloud: Running) -> None:
    async with cloud.edge() as edge:
        for seq, (content_type, content) in enumerate(
            [("image/jpeg", b"GIF89a"), ("text/html", b"<script>"), ("image/png", JPEG), ("image/jpeg", b"")]
        ):
            path = await stored(cloud, edge, seq)
            await cloud.http.get(path)
            await reply(edge, await asked(edge), content_type=content_type, payload=content)
            assert (await settled(cloud, path)).status_code == 410


async def test_only_the_edge_that_was_asked_may_answer(cloud: Running) -> None:
    async with cloud.edge("mine") as mine, cloud.edge("other") as other:
        path = await stored(cloud, mine)
        await cloud.http.get(path)
        request = await asked(mine)
        await reply(other, request, payload=JPEG + b"forged")
        await other.deliver(packet(1, cloud.payload()))  # the cloud has read the reply before this
        assert (await cloud.http.get(path)).status_code == 202
        await reply(mine, request)
        assert (await settled(cloud, path)).content == JPEG


async def test_an_absent_edge_and_unknown_frames(cloud: Running) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        assert (await cloud.http.get(path + "?layer=infrared")).status_code == 404
    await until(lambda: not len(cloud.parts.links))
    answer = await cloud.http.get(path)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert (await cloud.http.get("/v1/frames/nothing/image")).status_code == 404


async def test_a_new_stream_is_asked_again(cloud: Running) -> None:
    """The request went down with the old stream."""
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        await cloud.http.get(path)
        epoch = edge.epoch
    await until(lambda: not len(cloud.parts.links))
    async with cloud.edge(epoch=epoch) as edge:
        assert (await cloud.http.get(path)).status_code == 202
        await reply(edge, await asked(edge))
        assert (await settled(cloud, path)).status_code == 200


async def test_old_pictures_give_way(start: Start) -> None:
    big = JPEG[:4] + bytes(400_000)
    async with start(pictures_max_bytes=1 << 20) as cloud, cloud.edge() as edge:
        paths = [await stored(cloud, edge, seq) for seq in range(4)]
        for path in paths:
            await cloud.http.get(path)
            await reply(edge, await asked(edge), payload=big)
            assert (await settled(cloud, path)).status_code == 200
        codes = [(await cloud.http.get(path)).status_code for path in paths]
    assert codes == [202, 202, 200, 200]  # the first two would have to be fetched again


async def test_what_fits_nowhere_evicts_nothing(start: Start) -> None:
    async with start(pictures_max_bytes=1 << 20) as cloud, cloud.edge() as edge:
        small, large = [await stored(cloud, edge, seq) for seq in range(2)]
        for path, content, status in [(small, JPEG, 200), (large, JPEG + bytes(1 << 20), 410)]:
            await cloud.http.get(path)
            await reply(edge, await asked(edge), payload=content)
            assert (await settled(cloud, path)).status_code == status
        assert str(1 << 20) in (await cloud.http.get(large)).json()["detail"]
        assert (await cloud.http.get(small)).status_code == 200


async def test_what_cannot_be_kept_is_said_and_not_fetched_over_and_over(cloud: Running) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        async with cloud.parts.store._engine.begin() as connection:
            full = "CREATE TRIGGER full BEFORE INSERT ON pictures BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            await connection.execute(text(full))
        waiting = asyncio.create_task(cloud.http.get(path, params={"wait": "20s"}))
        await reply(edge, await asked(edge))
        answer = await waiting
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == "urn:midstream:problem:pixels-not-kept"
        assert "the cloud's log" in answer.json()["detail"]
        # Asked once: what the edge hears next is the ack of a new packet.
        assert (await edge.deliver(packet(2, cloud.payload())))[0].seq == 2


async def test_an_original_in_another_form(cloud: Running) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        for form, mode in [("JPEG", "L"), ("PNG", "RGBA")]:
            file = io.BytesIO()
            Image.new(mode, (320, 320), 77 if mode == "L" else (77, 77, 77, 0)).save(file, form)
            path = await stored(cloud, edge, len(form) + 10)
            await cloud.http.get(path)
            await reply(edge, await asked(edge), content_type=f"image/{form.lower()}", payload=file.getvalue())
            as_it_came = await settled(cloud, path)
            assert as_it_came.content == file.getvalue()
            assert (
                await cloud.http.get(path, headers={"Accept": "image/webp, image/*;q=0.1"})
            ).content == file.getvalue()
            for asked_for in ({"params": {"format": "webp"}}, {"headers": {"Accept": "image/webp"}}):
                answer = await cloud.http.get(path, **asked_for)  # type: ignore[arg-type]
                assert (
                    answer.headers["content-type"] == "image/webp"
                    and answer.headers["etag"] != as_it_came.headers["etag"]
                )
                pixels = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
                assert pixels.shape == (320, 320, 3) and abs(int(pixels.mean()) - 77) <= 1


async def test_an_original_that_is_another_picture_is_not_made_over(cloud: Running) -> None:
    """A header may promise any number of pixels: only those of the frame are ever decoded."""
    async with cloud.edge() as edge:
        file = io.BytesIO()
        Image.new("RGB", (320, 321)).save(file, "JPEG")
        for seq, content in enumerate([file.getvalue(), JPEG], 1):
            path = await stored(cloud, edge, seq)
            await cloud.http.get(path)
            await reply(edge, await asked(edge), payload=content)
            assert (await settled(cloud, path)).content == content
            answer = await cloud.http.get(path, params={"format": "png"})
            assert answer.status_code == 422 and answer.json()["type"] == "urn:midstream:problem:layer-damaged"


async def test_pictures_are_made_in_a_thread_that_stands_back() -> None:
    synthesis = Synthesis(Opened(1))
    entered, leave = threading.Event(), threading.Event()

    def make() -> bytes:
        entered.set()
        left = leave.wait(10)
        return b"%d %d" % (left, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    making = asyncio.ensure_future(synthesis._make("key", make))
    await asyncio.to_thread(entered.wait)
    stopping = asyncio.create_task(synthesis.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()  # it waits for the picture, and all else goes on meanwhile
    leave.set()
    await stopping
    assert await making == b"1 %d" % (min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 10))


async def test_so_many_may_wait_for_a_picture(cloud: Running) -> None:
    synthesis, leave = cloud.parts.synthesis, threading.Event()

    def make() -> bytes:
        return b"%d" % leave.wait(20)

    async with cloud.edge() as edge:
        path = await stored(cloud, edge)
        await cloud.http.get(path)
        await reply(edge, await asked(edge), payload=file_of(Image.new("RGB", (320, 320)), "JPEG"))
        assert (await settled(cloud, path)).status_code == 200
    png = {"params": {"format": "png"}}
    waiting = [asyncio.ensure_future(synthesis._make(f"key-{i}", make)) for i in range(16)]
    try:
        await asyncio.sleep(0)
        answer = await cloud.http.get(path, **png)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == "urn:midstream:problem:too-many-pictures"
        waiting.append(asyncio.ensure_future(synthesis._make("key-15", make)))  # who wants the same takes no place
    finally:
        leave.set()
    assert await asyncio.gather(*waiting) == [b"1"] * 17
    assert (await cloud.http.get(path, **png)).status_code == 200


def file_of(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_sixteen_bits_of_grey_are_scaled_to_eight() -> None:
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    made = encoded.again(file_of(Image.fromarray(grey), "PNG"), (8, 8), "png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(made)))[..., 1], np.round(grey / 257))


def test_only_a_jpeg_is_turned_as_at_the_edge() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for form, size in [("JPEG", (8, 24)), ("PNG", (24, 8))]:
        made = encoded.again(file_of(Image.new("RGB", (24, 8)), form, exif=turned), size, "png")
        assert Image.open(io.BytesIO(made)).size == size


def test_forms_have_their_limits() -> None:
    assert encoded.fitting(16383, 100) == ("jpeg", "png", "webp")
    assert encoded.fitting(100, 16384) == ("jpeg", "png")
    assert encoded.fitting(65501, 8) == ("png",)
    assert encoded.fitting(8193, 8193) == ()
    with pytest.raises(BitstreamError):
        encoded.again(b"\x89PNG", (8193, 8193), "png")
