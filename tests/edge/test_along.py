"""Pixels that travel along with their frame: asked for over HTTP, left out first, never at the frame's cost."""

import asyncio

import numpy as np
import pytest

from common.bundle import Bundle
from common.codec import Container, unpack
from common.payload import SHADOW
from common.scalable import PictureLayers
from common.types import Mode
from common.wire import stream_pb2 as pb
from edge import along as alongs
from edge.allowance import BURST_S, Allowance
from edge.choosing import shown
from edge.points import Choice
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, ack, silent, until
from tests.edge.pictures import jpeg
from tests.edge.test_api import is_problem
from tests.scalable import tiny

SHED = "shed: the link has no room for them beside the frames"


async def connected(edge: Edge) -> None:
    await until(lambda: edge.parts.uplink and edge.parts.uplink.state.up)


async def ledger(edge: Edge, frame_id: str) -> str:
    return str((await edge.http.get(f"/v1/frames/{frame_id}")).json()["pixels"])


async def post(edge: Edge, data: bytes, camera: str = "default", **more: str) -> tuple[str, str]:
    """The frame's id, and what the answer says of its pixels: the ledger says the same."""
    params, headers = {"pixels": "full", **more}, {"x-camera-id": camera}
    answer = await edge.http.post("/v1/frames", content=data, params=params, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    body = answer.json()
    assert await ledger(edge, body["id"]) == body["pixels"]
    return body["id"], body["pixels"]


def sent(peer: Peer, frame_id: str) -> Container:
    return next(unpack(packet.payload) for packet in peer.packets if packet.frame_id == frame_id)


async def test_pixels_travel_in_the_frames_container(start: Start, cloud: Peer, two: Bundle) -> None:
    data = jpeg(100, 70)
    async with start(cloud) as edge:
        await connected(edge)
        frame_id, pixels = await post(edge, data, wait="10s")
        assert pixels == "sent"
        container = sent(cloud, frame_id)
        assert [layer.kind for layer in container.layers] == [0, 1]
        decoded = PictureLayers.open(two).decode(container.layers, 100, 70)
        assert decoded.shape == (70, 100, 3) and np.ptp(decoded) > 100
        cloud.say(pb.IngestResponse(layer_request=pb.LayerRequest(request_id="r", frame_id=frame_id, layer="full")))
        await until(lambda: cloud.replies)
        assert unpack(cloud.replies[0].payload).layers == container.layers[1:], "the same, not coded again"
        assert 'midstream_feature_bytes_count{layer="full"} 1.0' in (await edge.http.get("/metrics")).text
        assert not await edge.parts.spool.unlayered(10)


async def test_a_form_may_ask_too_and_nobody_need(start: Start, cloud: Peer) -> None:
    data = jpeg()
    async with start(cloud) as edge:
        await connected(edge)
        files = {"image": ("a", data)}
        answer = await edge.http.post("/v1/frames", files=files, data={"pixels": "full"})
        assert answer.json()["pixels"] == "sent"
        answer = await edge.http.post("/v1/frames?pixels=full", files=files, data={"pixels": "none"})
        assert "pixels" not in answer.json()
        assert await ledger(edge, answer.json()["id"]) == "not asked for"
        for wrong in ("low", "", "yes"):
            is_problem(await edge.http.post(f"/v1/frames?pixels={wrong}", content=data), 422, "pixels: 'full'")
        is_problem(await edge.http.post("/v1/frames", files=files, data={"pixels": "half"}), 422, "pixels: 'full'")
        both = {"image": ("a", data), "pixels": ("b", b"full")}
        is_problem(await edge.http.post("/v1/frames", files=both), 422, "Too many files")
        operation = (await edge.http.get("/openapi.json")).json()["paths"]["/v1/frames"]["post"]
        (parameter,) = [each for each in operation["parameters"] if each["name"] == "pixels"]
        assert parameter["schema"]["enum"] == ["base", "full", "none"]
        answer = await edge.http.post("/v1/frames?pixels=base&wait=10s", content=data)
        assert answer.json()["pixels"] == "sent", "the base layer shows something, and it goes in any case"
        assert [layer.kind for layer in sent(cloud, answer.json()["id"]).layers] == [0]


async def test_a_repeat_says_what_became_of_the_first(start: Start, cloud: Peer) -> None:
    headers, data = {"idempotency-key": "k"}, jpeg()
    async with start(cloud) as edge:
        await connected(edge)
        first = await edge.http.post("/v1/frames?pixels=full", content=data, headers=headers)
        again = await edge.http.post("/v1/frames", content=data, headers=headers)
        assert first.json()["pixels"] == again.json()["pixels"] == "sent"


async def test_beside_a_picture_to_check_by(start: Start, cloud: Peer) -> None:
    async with start(cloud, shadow=1) as edge:
        await connected(edge)
        frame_id, pixels = await post(edge, jpeg(), wait="10s")
        container = sent(cloud, frame_id)
        assert pixels == "sent" and [layer.kind for layer in container.layers] == [0, 1, SHADOW]
        kept = unpack((await edge.parts.spool.picture(frame_id)).container)
        assert kept.layers == container.layers[:2], "what only checks the frame is not kept"


async def test_where_there_are_no_layers_the_frame_goes_alone(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        frame_id, pixels = await post(edge, jpeg(), wait="10s")
        assert pixels == "none: this bundle has no picture layers"
        assert [layer.kind for layer in sent(peer, frame_id).layers] == [0]


async def test_nor_has_a_frame_of_another_mode(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        edge.parts.points.set(Choice(Mode.IMAGE, 75))
        assert (await post(edge, jpeg()))[1] == "none: frames of mode image have no layers"


async def slow(edge: Edge, cloud: Peer) -> None:
    """A link of 2000 bytes a second, as far as the edge knows."""
    await connected(edge)
    cloud.say(pb.IngestResponse(rate_hint=pb.RateHint(bytes_per_second=2000)))
    await until(lambda: edge.parts.uplink and edge.parts.uplink.link().rate == 2000)


async def test_a_link_without_room_sheds_pixels_and_nothing_else(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        await slow(edge, cloud)
        ids = [await post(edge, jpeg(300, 200, seed), wait="10s") for seed in range(4)]
        said = [pixels for _, pixels in ids]
        assert said == ["sent", *[SHED] * 3]
        assert [len(sent(cloud, frame_id).layers) for frame_id, _ in ids] == [2, 1, 1, 1]
        assert shown(edge.parts)["quality"] == tiny.DEFAULT
        assert 'midstream_dropped_total{reason="pixels shed"} 3.0' in (await edge.http.get("/metrics")).text
        cloud.say(
            pb.IngestResponse(layer_request=pb.LayerRequest(request_id="later", frame_id=ids[-1][0], layer="full"))
        )
        await until(lambda: cloud.replies)
        assert cloud.replies[0].status == pb.LAYER_STATUS_OK, "it can still be asked for"


async def test_those_that_come_together_share_what_room_there_is(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        await slow(edge, cloud)
        async with edge.parts.enhancer.turn():  # so that all of them have asked before the first is coded
            posts = [asyncio.create_task(post(edge, jpeg(300, 200, seed), camera=str(seed))) for seed in range(6)]
            await until(lambda: edge.parts.enhancer.waiting == 7)
        said = sorted(pixels for _, pixels in await asyncio.gather(*posts))
        assert said == ["sent", *[SHED] * 5]


async def test_a_cloud_that_cannot_be_reached_gets_frames_first(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        await connected(edge)
        async with edge.parts.enhancer.turn():
            waiting = asyncio.create_task(post(edge, jpeg(seed=1)))
            await until(lambda: edge.parts.enhancer.waiting == 2)
            await cloud.stop()
            await until(lambda: edge.parts.uplink and not edge.parts.uplink.state.up)
        later = asyncio.create_task(post(edge, jpeg(seed=2)))
        both = await asyncio.gather(waiting, later)
        assert {pixels.partition(",")[0] for _, pixels in both} == {"shed: the cloud cannot be reached"}
        await cloud.start()
        await until(lambda: len(cloud.packets) == 2)
        assert [len(sent(cloud, frame_id).layers) for frame_id, _ in both] == [1, 1]


async def test_an_edge_without_a_cloud_spools_frames_alone(start: Start, two: Bundle) -> None:
    async with start(bundle=two.path) as edge:
        assert (await post(edge, jpeg()))[1].startswith("shed: the cloud cannot be reached")


async def test_a_spool_that_fills_sheds_pixels(start: Start, cloud: Peer) -> None:
    cloud.verdict = silent
    async with start(cloud, spool_max_bytes=1 << 18) as edge:
        await connected(edge)
        said = [(await post(edge, jpeg(400, 300, seed)))[1] for seed in range(12)]
        assert said[0] == "sent" and said[-1].startswith("shed: frames the cloud has not taken")
        assert edge.parts.spool.stats.queued == 12


async def test_too_many_at_once_and_too_slow(start: Start, cloud: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alongs, "PATIENCE_S", 0.2)
    async with start(cloud) as edge:
        await connected(edge)
        async with edge.parts.enhancer.turn():
            assert (await post(edge, jpeg()))[1].startswith("shed: they took longer than")
            many = await asyncio.gather(*(post(edge, jpeg(seed=seed), camera=str(seed)) for seed in range(12)))
            assert "shed: too many pictures are being coded" in {pixels for _, pixels in many}
        assert edge.parts.enhancer.waiting == 0
        await until(lambda: edge.parts.spool.stats.ended.get(("done", "")) == 13)


async def test_a_packet_larger_than_the_cloud_takes_goes_without(start: Start, cloud: Peer) -> None:
    cloud.max_payload = 6000
    async with start(cloud) as edge:
        await connected(edge)
        frame_id, pixels = await post(edge, jpeg(640, 480), wait="10s")
        assert pixels.startswith("shed: with them the frame has more than the 6000 bytes")
        assert [layer.kind for layer in sent(cloud, frame_id).layers] == [0]


async def test_a_cloud_that_takes_less_than_the_one_before_gets_the_base(start: Start, cloud: Peer) -> None:
    cloud.verdict, cloud.window = silent, 1
    async with start(cloud) as edge:
        await connected(edge)
        await edge.post(jpeg())
        frame_id, pixels = await post(edge, jpeg(640, 480))
        assert pixels == "sent", "but it waits for a credit"
        await cloud.stop()
        cloud.verdict, cloud.max_payload = ack, 6000
        await cloud.start()
        await until(lambda: edge.parts.spool.stats.ended == {("done", ""): 2})
        assert [layer.kind for layer in sent(cloud, frame_id).layers] == [0]
        await edge.parts.spool.settle()
        assert (await ledger(edge, frame_id)).startswith("shed: with them the frame has more than the 6000 bytes")
        assert 'midstream_dropped_total{reason="pixels shed"} 1.0' in (await edge.http.get("/metrics")).text
        kept = await edge.parts.spool.container(frame_id)
        assert [layer.kind for layer in unpack(kept.container).layers] == [0, 1], "they can still be asked for"


async def test_order_holds_though_one_waits_for_its_pixels(start: Start, cloud: Peer) -> None:
    async with start(cloud) as edge:
        await connected(edge)
        first = asyncio.create_task(post(edge, jpeg(1200, 900)))
        await until(lambda: edge.parts.enhancer.waiting)
        second = (await edge.post(jpeg())).json()["id"]
        await until(lambda: len(cloud.packets) == 2)
        assert [packet.frame_id for packet in cloud.packets] == [(await first)[0], second]


def test_an_allowance_is_spent_and_made_up_for() -> None:
    allowance = Allowance()
    assert allowance.may(1000, 100.0), "the first goes at once"
    allowance.spent(5000)
    assert not allowance.may(1000, 100.0 + 0.1)
    assert allowance.may(None, 100.2), "no limit is known"
    allowance.spent(5000)
    assert not allowance.may(1000, 100.2) and not allowance.may(1000, 105.1) and allowance.may(1000, 105.3)
    assert not allowance.may(0, 106.0), "nothing to spare"
    assert allowance.may(1000, 10_000.0)
    allowance.spent(int(BURST_S * 1000) + 500)
    assert not allowance.may(1000, 10_000.4) and allowance.may(1000, 10_000.6), "no more is saved than a burst"
