"""The stream: order, credits, resume, refusals, and pixels on demand."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.wire import stream_pb2 as pb
from edge import app as apps
from edge.app import drain
from edge.encode import Encoder
from edge.layers import LANES
from edge.link import backoff
from edge.parts import Parts
from edge.requests import LAYER_REQUESTS
from edge.strangers import Strangers, prefix_of
from edge.uplink import Uplink
from tests.edge import tiny
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, ack, nack, silent, until
from tests.edge.pictures import jpeg


def uplink(parts: Parts) -> Uplink:
    assert parts.uplink is not None
    return parts.uplink


async def send(edge: Edge, count: int, **headers: str) -> list[str]:
    answers = [await edge.post(jpeg(64, 64, i), **headers) for i in range(count)]
    assert {a.status_code for a in answers} == {202}
    return [a.json()["id"] for a in answers]


async def ended(edge: Edge, count: int) -> dict[tuple[str, str], int]:
    stats = edge.parts.spool
    await until(lambda: sum(stats.stats.ended.values()) == count)
    return stats.stats.ended


async def test_packets_carry_what_the_cloud_needs(start: Start, peer: Peer) -> None:
    data = jpeg()
    async with start(peer, edge_id="e-1", frame_max_age_ms=60_000) as edge:
        answer = (await edge.post(data, x_camera_id="door", x_capture_time=f"{time.time() - 1:.3f}")).json()
        await until(lambda: peer.packets)
        (hello,), (packet,) = peer.hellos, peer.packets
        assert (
            hello.edge_id == "e-1" and hello.epoch == edge.parts.spool.epoch and hello.software.startswith("midstream/")
        )
        assert (packet.seq, packet.frame_id, packet.camera) == (answer["seq"], answer["id"], "door")
        assert packet.captured_unix_us < packet.accepted_unix_us <= packet.sent_unix_us
        assert packet.source_bytes == len(data) and packet.max_age_ms == 60_000
        assert set(packet.edge_ms) == {"decode_picture", "front", "code", "spool", "queue"}
        assert all(ms >= 0 for ms in packet.edge_ms.values())


async def test_acks_may_come_together(start: Start, peer: Peer) -> None:
    peer.verdict = silent
    async with start(peer) as edge:
        ids = await send(edge, 3)
        await until(lambda: len(peer.packets) == 3)
        assert peer.hellos[0].acks_together
        peer.say(pb.IngestResponse(acks=pb.Acks(acks=[ack(packet).ack for packet in peer.packets])))
        assert await ended(edge, 3) == {("done", ""): 3}
        assert [await edge.state(frame_id) for frame_id in ids] == ["done"] * 3


async def test_in_order_and_never_more_in_flight_than_the_window(start: Start, peer: Peer) -> None:
    peer.verdict, peer.window = silent, 3
    async with start(peer) as edge:
        ids = await send(edge, 10)
        await until(lambda: len(peer.packets) == 3)
        await asyncio.sleep(0.2)
        assert len(peer.packets) == 3 == len(uplink(edge.parts).state.in_flight)
        peer.say(ack(peer.packets[0]))
        await until(lambda: len(peer.packets) == 4)
        peer.say(pb.IngestResponse(credit=pb.Credit(window=5)))
        await until(lambda: len(peer.packets) == 6)
        peer.verdict = ack
        for packet in peer.packets[1:6]:
            peer.say(ack(packet))
        assert await ended(edge, 10) == {("done", ""): 10}
        assert [p.frame_id for p in peer.packets] == ids


async def test_a_new_stream_begins_with_the_oldest_unacked(start: Start, peer: Peer) -> None:
    acked: set[int] = set()

    def every_other(packet: pb.Packet) -> pb.IngestResponse | None:
        acked.add(packet.seq) if packet.seq % 2 else None
        return ack(packet) if packet.seq % 2 else None

    peer.verdict = every_other
    async with start(peer) as edge:
        ids = await send(edge, 6)
        await ended(edge, 3)
        first = len(peer.packets)
        peer.verdict = ack
        peer.hang_up()
        await ended(edge, 6)
        again = peer.packets[first:]
        assert [p.frame_id for p in again] == ids[1::2], "only what was not acked, in order"
        assert len(peer.hellos) == 2


async def test_the_cloud_away_for_the_whole_send(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await peer.stop()
        ids = await send(edge, 20)
        assert edge.parts.spool.stats.queued == 20
        await peer.start()
        assert await ended(edge, 20) == {("done", ""): 20}
        assert [p.frame_id for p in peer.packets] == ids


async def test_a_restarted_edge_sends_what_the_one_before_promised(start: Start, peer: Peer) -> None:
    peer.verdict = silent
    async with start(peer) as edge:
        ids = await send(edge, 5)
        epoch = edge.parts.spool.epoch
    peer.verdict = ack
    peer.packets.clear()
    async with start(peer) as edge:
        await ended(edge, 5)
        assert [p.frame_id for p in peer.packets] == ids and peer.hellos[-1].epoch == epoch


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (pb.NACK_REASON_CORRUPT, "failed: corrupt: why"),
        (99, "failed: reason 99: why"),
        (pb.NACK_REASON_FAILED, "failed: failed: why"),
        (pb.NACK_REASON_EXPIRED, "expired: older than its max_age in the cloud"),
    ],
)
async def test_a_refused_frame_fails_alone(start: Start, peer: Peer, reason: pb.NackReason, state: str) -> None:
    peer.verdict = lambda p: nack(p, reason, "why") if p.seq == 2 else ack(p)
    async with start(peer) as edge:
        ids = await send(edge, 3)
        await ended(edge, 3)
        assert [await edge.state(i) for i in ids] == ["done", state, "done"]
        text = (await edge.http.get("/metrics")).text
        corrupt = 'midstream_decode_errors_total{kind="nack"} 1.0' in text
        assert corrupt == (reason == pb.NACK_REASON_CORRUPT)


async def test_a_frame_of_a_bundle_the_cloud_does_not_hold_waits_until_it_does(start: Start, peer: Peer) -> None:
    peer.verdict = lambda p: nack(p, pb.NACK_REASON_UNKNOWN_BUNDLE, "no bundle 12ab") if p.seq == 2 else ack(p)
    with capture_logs() as logs:
        async with start(peer) as edge:
            ids = await send(edge, 6)
            assert await ended(edge, 1) == {("done", ""): 1}, "nothing overtakes it"
            await until(lambda: len(peer.hellos) > 3)
            assert await edge.state(ids[1]) == "queued" and edge.parts.spool.stats.queued == 5
            assert "no bundle 12ab" in uplink(edge.parts).state.trouble or uplink(edge.parts).state.up
            before, peer.verdict = len(peer.packets), ack
            assert await ended(edge, 6) == {("done", ""): 6}
            assert [p.frame_id for p in peer.packets[before:]][-5:] == ids[1:]
    assert sum("no bundle 12ab" in str(line) for line in logs) == 1, "said once, not every time"


async def test_a_frame_of_an_unknown_bundle_is_dropped_when_it_is_old(start: Start, peer: Peer) -> None:
    peer.verdict = lambda p: nack(p, pb.NACK_REASON_UNKNOWN_BUNDLE)
    async with start(peer, spool_max_age_s=0.5) as edge:
        (frame,) = await send(edge, 1)
        await ended(edge, 1)
        assert peer.packets and await edge.state(frame) == "dropped: older than the spool keeps frames"


async def test_a_bundle_that_stays_unknown_stops_the_others_for_so_long_only(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    other = tiny.write(tmp_path, seed=1)

    def verdict(packet: pb.Packet) -> pb.IngestResponse:
        strange = prefix_of(packet.payload) == other.prefix
        return nack(packet, pb.NACK_REASON_UNKNOWN_BUNDLE, "no bundle 12ab") if strange else ack(packet)

    async with start(peer, unknown_bundle_seconds=1.0) as edge:
        peer.verdict, mine = silent, edge.parts.codecs.current
        edge.parts.codecs.current = Encoder(other)
        strange = await send(edge, 3)
        edge.parts.codecs.current = mine
        ids = await send(edge, 4)
        peer.verdict = verdict
        peer.hang_up()
        await asyncio.sleep(0.3)
        assert await edge.state(strange[0]) == "queued", "a cloud that is being upgraded is waited for"
        assert await ended(edge, 7) == {("done", ""): 4, ("failed", "unknown bundle"): 3}
        assert await edge.state(strange[0]) == "failed: unknown bundle: no bundle 12ab"
        assert [await edge.state(i) for i in ids] == ["done"] * 4


def test_patience_begins_anew_when_a_bundle_was_held_between() -> None:
    strangers = Strangers(10.0)
    assert not strangers.over(b"a", 0.0) and strangers.over(b"a", 10.0)
    strangers.known(b"b")
    assert strangers.over(b"a", 11.0)
    strangers.known(b"a")
    assert not strangers.over(b"a", 1000.0) and strangers.over(b"a", 1010.0)


def test_time_without_the_cloud_is_no_waiting_for_a_bundle() -> None:
    strangers = Strangers(10.0)
    assert not strangers.over(b"a", 0.0)
    strangers.away(100.0)
    assert not strangers.over(b"a", 109.0) and strangers.over(b"a", 110.0)


async def test_a_cloud_that_was_away_is_asked_again_before_a_frame_fails(start: Start, peer: Peer) -> None:
    peer.verdict = lambda p: nack(p, pb.NACK_REASON_UNKNOWN_BUNDLE, "no bundle 12ab")
    async with start(peer, unknown_bundle_seconds=1.5) as edge:
        (frame,) = await send(edge, 1)
        await until(lambda: peer.packets)
        await peer.stop()
        await asyncio.sleep(2.0)
        peer.packets.clear()
        await peer.start()
        await until(lambda: peer.packets)
        await asyncio.sleep(0.1)
        assert await edge.state(frame) == "queued"
        peer.verdict = ack
        assert await ended(edge, 1) == {("done", ""): 1}


async def test_the_cloud_may_ask_for_less(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await until(lambda: uplink(edge.parts).state.up)
        peer.say(pb.IngestResponse(rate_hint=pb.RateHint(bytes_per_second=1234)))
        await until(lambda: uplink(edge.parts).link().rate == 1234)
        assert (await edge.http.get("/v1/operating-point")).json()["link"] == {"bytes_per_second": 1234}
        peer.hang_up()
        await until(lambda: len(peer.hellos) == 2 and uplink(edge.parts).state.up)
        assert uplink(edge.parts).link().rate is None, "said of one stream"


async def test_what_was_dropped_while_it_waited_for_a_credit_is_not_sent(start: Start, peer: Peer) -> None:
    peer.verdict, peer.window = silent, 1
    async with start(peer, spool_max_age_s=0.5) as edge:
        ids = await send(edge, 4)
        await ended(edge, 3)
        assert [p.frame_id for p in peer.packets] == ids[:1]
        assert await edge.state(ids[0]) == "queued", "the cloud may have it"
        peer.verdict = ack
        peer.say(ack(peer.packets[0]))
        await ended(edge, 4)
        (fresh,) = await send(edge, 1)
        await ended(edge, 5)
        assert [p.frame_id for p in peer.packets] == [ids[0], fresh]


async def test_answers_to_nothing_are_ignored(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await until(lambda: uplink(edge.parts).state.up)
        peer.say(pb.IngestResponse(ack=pb.Ack(seq=77)))
        peer.say(pb.IngestResponse(nack=pb.Nack(seq=78)))
        peer.say(pb.IngestResponse(rate_hint=pb.RateHint(bytes_per_second=1)))
        await send(edge, 2)
        assert await ended(edge, 2) == {("done", ""): 2}


async def test_too_late_is_not_sent(start: Start, peer: Peer) -> None:
    async with start(peer, frame_max_age_ms=1000) as edge:
        late = await edge.post(jpeg(), x_capture_time="2020-01-01T00:00:00Z")
        (fresh,) = await send(edge, 1)
        await ended(edge, 2)
        assert (await edge.state(late.json()["id"])).startswith("expired: older than its max_age")
        assert [p.frame_id for p in peer.packets] == [fresh]


async def test_larger_than_the_cloud_takes_fails_here(start: Start, peer: Peer) -> None:
    peer.max_payload = 40
    async with start(peer) as edge:
        (frame,) = await send(edge, 1)
        await ended(edge, 1)
        assert (await edge.state(frame)).startswith("failed: larger than the cloud takes")
        assert not peer.packets


async def ask(peer: Peer, frame_id: str, layer: str = "full") -> pb.LayerReply:
    before = len(peer.replies)
    peer.say(pb.IngestResponse(layer_request=pb.LayerRequest(request_id=f"r{before}", frame_id=frame_id, layer=layer)))
    await until(lambda: len(peer.replies) > before)
    reply = peer.replies[before]
    assert reply.request_id == f"r{before}"
    return reply


async def test_pixels_on_demand_are_the_picture_as_received(start: Start, peer: Peer) -> None:
    data = jpeg(800, 600)
    async with start(peer) as edge:
        answer = await edge.post(data, wait="10s")
        reply = await ask(peer, answer.json()["id"])
        assert reply.status == pb.LAYER_STATUS_OK and reply.payload == data and reply.content_type == "image/jpeg"


async def test_gone_says_why(start: Start, peer: Peer) -> None:
    async with start(peer, ring_max_bytes=20_000) as edge:
        answers = [await edge.post(jpeg(200, 200, i), wait="10s") for i in range(12)]
        large = await edge.post(jpeg(1200, 1200, quality=97), wait="10s")
        whys = {
            "shed: ring full": answers[0].json()["id"],
            "never kept: larger than the ring": large.json()["id"],
            "unknown frame": "nobody",
        }
        for why, frame_id in whys.items():
            reply = await ask(peer, frame_id)
            assert (reply.status, reply.detail, reply.payload) == (pb.LAYER_STATUS_GONE, why, b"")
        thumbnail = await ask(peer, answers[-1].json()["id"], "thumbnail")
        assert (
            thumbnail.status == pb.LAYER_STATUS_UNKNOWN_LAYER
            and "base, low, clean, mask, full, noisy, original" in thumbnail.detail
        )
        assert (await ask(peer, answers[-1].json()["id"])).status == pb.LAYER_STATUS_OK


async def test_requests_do_not_stop_the_frames(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        (frame,) = await send(edge, 1)
        await until(lambda: peer.packets)
        for i in range(200):
            peer.say(pb.IngestResponse(layer_request=pb.LayerRequest(request_id=str(i), frame_id=frame, layer="full")))
        await send(edge, 10)
        assert await ended(edge, 11) == {("done", ""): 11}
        await until(lambda: len(peer.replies) == 200)


async def test_more_requests_than_may_wait_are_told_so_at_once(start: Start, peer: Peer) -> None:
    data, more = jpeg(), LANES + LAYER_REQUESTS + 6
    async with start(peer) as edge:
        frame_id = (await edge.post(data, wait="10s")).json()["id"]
        slow_disk = threading.Event()
        edge.parts.spool._reading.submit(slow_disk.wait)
        for i in range(more):
            request = pb.LayerRequest(request_id=str(i), frame_id=frame_id, layer="full")
            peer.say(pb.IngestResponse(layer_request=request))
        try:
            await until(lambda: len(peer.replies) >= 6)
            assert {reply.status for reply in peer.replies} == {pb.LAYER_STATUS_BUSY}
        finally:
            slow_disk.set()
        await until(lambda: len(peer.replies) == more)
        assert {reply.request_id for reply in peer.replies} == {str(i) for i in range(more)}
        assert sum(reply.payload == data for reply in peer.replies) >= LAYER_REQUESTS
        told = sum(reply.status == pb.LAYER_STATUS_BUSY for reply in peer.replies)
        counted = f'midstream_dropped_total{{reason="layer requests"}} {told}.0'
        assert counted in (await edge.http.get("/metrics")).text


async def test_a_cloud_that_breaks_the_rules_is_left_and_tried_again(start: Start, peer: Peer) -> None:
    peer.window = 0
    async with start(peer) as edge:
        await until(lambda: "window" in uplink(edge.parts).state.trouble)
        peer.window = 4
        await send(edge, 1)
        assert await ended(edge, 1) == {("done", ""): 1}


async def test_something_else_listens_there(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stranger = Peer(port=listener.getsockname()[1])
        async with start(stranger, ready=False) as edge:
            assert not uplink(edge.parts).state.up
            assert (await edge.http.get("/livez")).status_code == 200
            assert (await edge.http.get("/readyz")).status_code == 503


def test_backoff_grows_to_its_bound_and_differs() -> None:
    runs = [[delay for delay, _ in zip(backoff(0.2, 10), range(12), strict=False)] for _ in range(20)]
    for i in range(12):
        full = min(10, 0.2 * 2**i)
        assert all(full / 2 <= run[i] <= full for run in runs)
    assert len({run[-1] for run in runs}) > 10


async def test_drain_waits_for_the_cloud_but_not_for_ever(start: Start, peer: Peer) -> None:
    peer.verdict = silent
    async with start(peer, drain_seconds=0.2) as edge:
        await send(edge, 2)
        await drain(edge.parts)
        assert edge.parts.spool.stats.queued == 2 and edge.parts.intake.draining
        peer.hang_up()
        peer.verdict = ack
        await ended(edge, 2)


async def test_drain_does_not_wait_for_a_cloud_that_is_away(start: Start, peer: Peer) -> None:
    async with start(peer, drain_seconds=1000) as edge:
        await peer.stop()
        await until(lambda: not uplink(edge.parts).state.up)
        await send(edge, 2)
        async with asyncio.timeout(10):
            await drain(edge.parts)


@pytest.mark.parametrize("turns", range(6))
async def test_a_stopping_edge_does_not_wait_for_a_task_that_lost_its_cancellation(turns: int) -> None:
    """As a TaskGroup loses it in Python before 3.13, if it comes while the group ends by an error."""
    broken = asyncio.Event()

    async def link() -> None:
        await broken.wait()
        raise ConnectionError

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)

    async def run() -> None:
        with contextlib.suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(link())
                group.create_task(slow_to_end())
        await asyncio.Event().wait()

    async with asyncio.timeout(20):
        async with apps._kept_alive("link", run):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            broken.set()
            for _ in range(turns):
                await asyncio.sleep(0)
