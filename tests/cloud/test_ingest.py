"""The stream: validated, stored once, acked after the commit; what is wrong is refused and the stream goes on."""

import asyncio
import sqlite3
import time
import uuid
from dataclasses import replace
from itertools import count

import grpc
import pytest

from cloud.links import Link
from common.codec import Layer, unpack
from common.codec.container import pack
from common.payload import SHADOW
from common.wire import stream_pb2 as wire
from tests.cloud import tiny
from tests.cloud.conftest import Running, Start
from tests.cloud.speaker import Edge, packet, until


async def test_a_frame_becomes_a_result(cloud: Running) -> None:
    sent = packet(1, cloud.payload({(0, 1, 2): 1.0, (1, 3, 0): 0.6}), want_result=True)
    async with cloud.edge() as edge:
        assert edge.welcome.bundle_digest == cloud.bundle.digest
        (ack,) = await edge.deliver(sent)
    assert (ack.seq, ack.duplicate) == (1, False)
    assert [(d.label, round(d.score, 3)) for d in ack.detections] == [("cat", 1.0), ("dog", 0.6)]
    result = await cloud.json(f"/v1/results/{sent.frame_id}")
    assert result["detections"] == [
        {"label": "cat", "score": 1.0, "box": tiny.box(1, 2)},
        {"label": "dog", "score": 0.6, "box": tiny.box(3, 0)},
    ]
    assert (result["camera"], result["edge"], result["provenance"]) == ("door", "edge-1", "split")
    assert (result["width"], result["height"], result["quality"], result["codec"]) == (320, 320, 16, "lightweight")
    assert result["bytes"] == {"coded": len(sent.payload), "source": 50_000}
    assert result["bundle"] == cloud.bundle.digest
    assert list(result["timing"]) == ["front", "code", "wire", "batch", "decode_features", "back", "nms", "store"]
    assert all(ms >= 0 for ms in result["timing"].values())


async def test_acks_travel_together_to_an_edge_that_understands_that(start: Start) -> None:
    async with start(batch_max=8, batch_wait_ms=100) as cloud:
        for together in (False, True):
            edge = cloud.edge(f"edge-{together}")
            await edge.say(hello=wire.Hello(edge_id=edge.edge_id, epoch=edge.epoch, acks_together=together))
            assert (await edge.hear()).welcome.window >= 8
            await edge.send(*(packet(seq, cloud.payload()) for seq in range(8)))
            kinds, seqs = [], []
            while len(seqs) < 8:
                message = await edge.hear()
                kinds.append(message.WhichOneof("message"))
                seqs += [ack.seq for ack in (message.acks.acks if together else [message.ack])]
            assert seqs == list(range(8))
            assert set(kinds) == {"acks" if together else "ack"}
            assert not together or len(kinds) < 8
            assert await edge.leave() is grpc.StatusCode.OK


def test_what_is_said_between_acks_stays_between_them() -> None:
    link = Link("e", "epoch", -1, together=True)
    for seq in range(40):
        link.answer(wire.Ack(seq=seq))
    link.answer(wire.Nack(seq=40))
    link.answer(wire.Ack(seq=41))
    assert link.unsaid == 42
    heard = [asyncio.run(link.next()) for _ in range(link.outbox.qsize())]
    seqs = [[a.seq for a in m.acks.acks] or [m.nack.seq] for m in heard if isinstance(m, wire.IngestResponse)]
    assert [seq for part in seqs for seq in part] == list(range(42)) and max(map(len, seqs)) == 32 and [40] in seqs
    assert link.unsaid == 0
    link.answer(wire.Ack(seq=42))
    first = asyncio.run(link.next())
    link.answer(wire.Ack(seq=43))  # what is being said is not changed any more
    assert isinstance(first, wire.IngestResponse) and len(first.acks.acks) == 1 and link.unsaid == 1


async def test_boxes_are_in_pixels_of_the_picture(cloud: Running) -> None:
    """A picture of half the size has boxes of half the size."""
    async with cloud.edge() as edge:
        (ack,) = await edge.deliver(packet(1, cloud.payload({(0, 1, 2): 1.0}, size=160), want_result=True))
    (d,) = ack.detections
    assert [d.x1, d.y1, d.x2, d.y2] == [v / 2 for v in tiny.box(1, 2)]


async def test_an_ack_means_that_others_can_see_the_row(start: Start) -> None:
    async with start() as cloud, cloud.edge() as edge:
        path = cloud.parts.settings.data_dir / "results.db"
        for seq in range(20):
            sent = packet(seq, cloud.payload())
            await edge.deliver(sent)
            other = sqlite3.connect(path)
            assert other.execute("SELECT seq FROM results WHERE id = ?", (sent.frame_id,)).fetchall() == [(seq,)]
            other.close()


async def test_acks_come_in_order_and_results_are_numbered_in_order(cloud: Running) -> None:
    sent = [packet(seq, cloud.payload(), camera=f"c{seq % 3}") for seq in range(0, 200, 2)]
    async with cloud.edge() as edge:
        acks = await edge.deliver(*sent)
    assert [a.seq for a in acks] == [p.seq for p in sent]
    rows = (await cloud.json("/v1/results", order="asc", limit=1000))["results"]
    assert [r["id"] for r in rows] == [p.frame_id for p in sent]


async def test_a_packet_sent_twice_is_stored_once(cloud: Running) -> None:
    first, second = packet(1, cloud.payload({(0, 0, 0): 1.0}), want_result=True), packet(2, cloud.payload())
    async with cloud.edge() as edge:
        await edge.deliver(first, second)
        (again,) = await edge.deliver(first)
        assert again.duplicate and [d.label for d in again.detections] == ["cat"]
        epoch = edge.epoch
    async with cloud.edge(epoch=epoch) as edge:  # as after a lost connection
        acks = await edge.deliver(first, second, packet(3, cloud.payload()))
    assert [(a.seq, a.duplicate) for a in acks] == [(1, True), (2, True), (3, False)]
    assert len((await cloud.json("/v1/results"))["results"]) == 3
    assert (await cloud.json("/v1/cameras"))["cameras"][0]["frames"] == 3


LONG_AGO = {"captured_unix_us": 1_000_000_000, "max_age_ms": 5000}


async def test_a_packet_that_had_its_result_is_a_duplicate_however_late(cloud: Running) -> None:
    """Though the result was deleted for its age: the edge is not to be told that the frame expired."""
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, cloud.payload()), packet(2, cloud.payload()))
        assert await cloud.parts.store.delete_older(2**62) == 1
        again = await edge.deliver(*(packet(seq, cloud.payload(), **LONG_AGO) for seq in (1, 2)))
        (new,) = await edge.deliver(packet(3, cloud.payload(), **LONG_AGO))
    assert [(a.seq, a.duplicate) for a in again] == [(1, True), (2, True)]
    assert new.reason == wire.NACK_REASON_EXPIRED


async def test_what_is_stored_while_a_stream_opens_is_known_on_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came on the stream before, and has its result when the database has just said that it has none."""
    async with start(batch_wait_ms=1000) as cloud, cloud.edge() as older:
        key = "edge-1", older.epoch, 1
        asked = cloud.parts.store.stored_up_to

        async def stored_up_to(edge: str, epoch: str) -> int:
            found = await asked(edge, epoch)
            await until(lambda: not cloud.parts.pipeline.holds(key))
            return found

        monkeypatch.setattr(cloud.parts.store, "stored_up_to", stored_up_to)
        await older.send(packet(1, cloud.payload()))
        await until(lambda: cloud.parts.pipeline.holds(key))
        async with cloud.edge(epoch=older.epoch) as edge:
            (ack,) = await edge.deliver(packet(1, cloud.payload(), **LONG_AGO))
    assert ack.seq == 1 and ack.duplicate


async def test_a_stream_that_cannot_be_opened_leaves_nothing(cloud: Running) -> None:
    database = sqlite3.connect(cloud.parts.settings.data_dir / "results.db")
    database.execute("ALTER TABLE results RENAME TO away")
    one = Edge(cloud.parts.grpc_port)
    await one.say(hello=wire.Hello(edge_id=one.edge_id, epoch=one.epoch))
    assert await one.end() is not grpc.StatusCode.OK
    await one.__aexit__(None, None, None)
    assert len(cloud.parts.links) == 0
    database.execute("ALTER TABLE away RENAME TO results")
    database.close()
    async with cloud.edge() as edge:
        assert (await edge.deliver(packet(1, cloud.payload())))[0].seq == 1


async def test_another_epoch_is_another_packet(cloud: Running) -> None:
    for _ in range(2):
        async with cloud.edge() as edge:
            (ack,) = await edge.deliver(packet(1, cloud.payload()))
            assert not ack.duplicate
    assert len((await cloud.json("/v1/results"))["results"]) == 2


async def test_a_frame_id_belongs_to_one_packet(cloud: Running) -> None:
    mine = packet(1, cloud.payload())
    theirs = packet(2, cloud.payload(), frame_id=mine.frame_id)
    async with cloud.edge() as edge:
        await edge.send(mine, theirs, packet(3, cloud.payload()))
        first, nack, third = await edge.answers(3)
    assert nack.reason == wire.NACK_REASON_INVALID and "frame_id" in nack.detail
    assert (first.seq, third.seq) == (1, 3)
    assert [r["number"] for r in (await cloud.json("/v1/results", order="asc"))["results"]] == [1, 2]


async def test_what_is_corrupt_is_refused_and_the_next_is_taken(cloud: Running) -> None:
    good = cloud.payload({(0, 0, 0): 1.0})
    flipped = bytearray(good)
    flipped[-1] ^= 1
    bad = [b"", b"\x00" * 40, good[:-1], good + b"\x00", bytes(flipped)]
    async with cloud.edge() as edge:
        answers = await edge.deliver(*(packet(i, p) for i, p in enumerate([*bad, good])))
    assert [a.reason for a in answers[:-1]] == [wire.NACK_REASON_CORRUPT] * len(bad)
    assert all(a.detail for a in answers[:-1])
    assert answers[-1].seq == len(bad)
    assert await cloud.counter('midstream_decode_errors_total{kind="container"}') == len(bad)
    assert await cloud.counter('midstream_frames_total{camera="door",outcome="corrupt"}') == len(bad)
    assert await cloud.counter('midstream_frames_total{camera="door",outcome="done"}') == 1


async def test_what_only_the_decoder_notices_is_refused_too(cloud: Running) -> None:
    """Its neighbours in the batch are not touched."""
    good = cloud.payload({(0, 0, 0): 1.0})
    garbled = tiny.garbled(cloud.bundle)
    async with cloud.edge() as edge:
        answers = await edge.deliver(packet(1, good), packet(2, garbled), packet(3, good))
    assert [type(a).__name__ for a in answers] == ["Ack", "Nack", "Ack"]
    assert answers[1].reason == wire.NACK_REASON_CORRUPT
    assert await cloud.counter('midstream_decode_errors_total{kind="layer"}') == 1


async def test_a_foreign_bundle_is_named(cloud: Running) -> None:
    payload = tiny.payload(cloud.bundle)
    foreign = tiny.resealed(payload, prefix=b"\x01" * 4)
    async with cloud.edge() as edge:
        (nack,) = await edge.deliver(packet(1, foreign))
    assert nack.reason == wire.NACK_REASON_UNKNOWN_BUNDLE and "01" * 4 in nack.detail


async def test_nothing_overtakes_a_frame_of_a_foreign_bundle(cloud: Running) -> None:
    good = cloud.payload()
    foreign = tiny.resealed(tiny.payload(cloud.bundle), prefix=b"\x01" * 4)
    sent = [packet(i, foreign if i == 5 else good) for i in range(1, 12)]
    async with cloud.edge() as edge:
        await edge.send(*sent)
        said = await edge.answers(5)
        assert [a.seq for a in said if isinstance(a, wire.Ack)] == [1, 2, 3, 4]
        assert await edge.end() is grpc.StatusCode.FAILED_PRECONDITION
    rows = (await cloud.json("/v1/results", order="asc"))["results"]
    assert [r["id"] for r in rows] == [p.frame_id for p in sent[:4]]


async def test_held_is_measured_on_this_stream_whatever_the_clock_says(
    cloud: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, jumps = time.time_ns, count(0, 3_600_000_000_000)
    payload = cloud.payload()
    sent = [packet(i, payload) for i in range(5)]
    monkeypatch.setattr("cloud.ingest.time.time_ns", lambda: real() - next(jumps))
    async with cloud.edge() as edge:
        began = time.monotonic()
        acks = await edge.deliver(*sent) + await edge.deliver(sent[0])
        took = (time.monotonic() - began) * 1e3
    assert all(ack.HasField("held_ms") and 0 < ack.held_ms <= took for ack in acks)


async def test_bytes_of_a_picture_beside_are_not_the_frames(cloud: Running) -> None:
    plain = cloud.payload({(0, 0, 0): 1.0})
    frame = unpack(plain)
    beside = pack(replace(frame, layers=[*frame.layers, Layer(SHADOW, b"x" * 5000)]))
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, beside))
    (row,) = (await cloud.json("/v1/results"))["results"]
    assert len(plain) <= row["bytes"]["coded"] < len(plain) + 10
    assert await cloud.counter('midstream_feature_bytes_sum{layer="shadow"}') == 5000


OUT_OF_RANGE: list[dict[str, object]] = [
    {"frame_id": "not-a-uuid"},
    {"frame_id": str(uuid.uuid4()).upper()},
    {"camera": ""},
    {"camera": "a/b"},
    {"camera": "x" * 65},
    {"camera": "door\n"},
    {"captured_unix_us": 0},
    {"captured_unix_us": -(2**63)},
    {"accepted_unix_us": 2**62},
    {"max_age_ms": 2**32 - 1},
    {"seq": 2**64 - 1},
]


async def test_routing_fields_out_of_range_are_refused(cloud: Running) -> None:
    good = cloud.payload()
    async with cloud.edge() as edge:
        for field in OUT_OF_RANGE:
            nack, ack = await edge.deliver(packet(**{"seq": 1, "payload": good} | field), packet(2, good))  # type: ignore[arg-type]
            assert nack.reason == wire.NACK_REASON_INVALID and next(iter(field)) in nack.detail
            assert ack.seq == 2


async def test_strange_stage_times_are_not_kept(cloud: Running) -> None:
    ms = {"front": float("nan"), "code": -1.0, "spool": float("inf"), "queue": 2.0, "of my own": 1.0}
    sent = packet(1, cloud.payload(), edge_ms=ms)
    async with cloud.edge() as edge:
        await edge.deliver(sent)
    timing = (await cloud.json(f"/v1/results/{sent.frame_id}"))["timing"]
    assert timing["queue"] == 2.0 and not {"front", "code", "spool", "of my own"} & set(timing)


async def test_what_is_too_old_is_refused_before_it_costs_anything(cloud: Running) -> None:
    old = time.time_ns() // 1000 - 10_000_000
    async with cloud.edge() as edge:
        nack, ack = await edge.deliver(
            packet(1, cloud.payload(), captured_unix_us=old, max_age_ms=5000),
            packet(2, cloud.payload(), captured_unix_us=old, max_age_ms=60_000),
        )
    assert nack.reason == wire.NACK_REASON_EXPIRED and ack.seq == 2


async def test_more_than_the_window_ends_the_stream(start: Start) -> None:
    # The first frame waits a second for company, so the second surely comes while it is in flight.
    async with start(window=1, batch_wait_ms=1000) as cloud, cloud.edge() as edge:
        assert edge.welcome.window == 1
        await edge.send(packet(1, cloud.payload()), packet(2, cloud.payload()))
        assert await edge.end() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 packets in flight" in await edge.call.details()


async def test_a_newer_stream_replaces_the_older(cloud: Running) -> None:
    async with cloud.edge("twin") as older, cloud.edge("twin", older.epoch) as newer:
        assert await older.end() is grpc.StatusCode.ABORTED
        (ack,) = await newer.deliver(packet(1, cloud.payload()))
        assert ack.seq == 1
        assert (await cloud.json("/v1/cameras"))["cameras"][0]["online"]
    assert await cloud.counter("midstream_link_up") <= 1


async def test_a_replaced_stream_is_no_error(cloud: Running, capsys: pytest.CaptureFixture[str]) -> None:
    async with cloud.edge("twin") as older, cloud.edge("twin", older.epoch) as newer:
        assert await older.end() is grpc.StatusCode.ABORTED
        await newer.deliver(packet(1, cloud.payload()))
    printed = capsys.readouterr()
    assert "edge disconnected" in printed.out + printed.err
    assert "reading failed" not in printed.out + printed.err and "Traceback" not in printed.out + printed.err


async def test_leaving_waits_for_the_last_ack(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.send(*(packet(seq, cloud.payload()) for seq in range(30)))
        assert await edge.leave() is grpc.StatusCode.OK
    assert len((await cloud.json("/v1/results"))["results"]) == 30


GOOD = {"edge_id": "edge-1", "epoch": str(uuid.uuid4())}


HOSTILE: list[dict[str, object]] = [
    {"hello": wire.Hello()},
    {"hello": wire.Hello(**GOOD | {"edge_id": "../../etc/passwd"})},
    {"hello": wire.Hello(**GOOD | {"edge_id": "x" * 65})},
    {"hello": wire.Hello(**GOOD | {"epoch": "'; DROP TABLE results; --"})},
    {"packet": wire.Packet(seq=1)},
    {"layer_reply": wire.LayerReply()},
    {},
]


async def test_a_hostile_hello_ends_the_stream(cloud: Running) -> None:
    for first in HOSTILE:
        edge = Edge(cloud.parts.grpc_port)
        await edge.say(**first)
        assert await edge.end() is grpc.StatusCode.INVALID_ARGUMENT
        assert "Hello" in await edge.call.details()
        await edge.__aexit__(None, None, None)


async def test_saying_hello_twice_ends_the_stream(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.say(hello=wire.Hello(**GOOD))
        assert await edge.end() is grpc.StatusCode.INVALID_ARGUMENT


async def test_silence_is_not_waited_for(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.ingest.HELLO_SECONDS", 0.2)
    edge = Edge(cloud.parts.grpc_port)
    assert await edge.end() is grpc.StatusCode.DEADLINE_EXCEEDED
    await edge.__aexit__(None, None, None)


async def test_the_whole_way_on_either_database(start: Start, database: str) -> None:
    async with start(database=database) as cloud, cloud.edge() as edge:
        cat = cloud.payload({(0, 0, 0): 1.0})
        sent = [packet(0, b"bad"), *(packet(seq, cat, camera=f"c{seq % 4}") for seq in range(1, 60))]
        answers = await edge.deliver(*sent) + await edge.deliver(*sent[:5])
        # A nack need not wait for the engine.
        assert sorted(type(a).__name__ for a in answers) == ["Ack"] * 63 + ["Nack"] * 2
        assert sum(a.duplicate for a in answers if isinstance(a, wire.Ack)) == 4
        rows = (await cloud.json("/v1/results", order="asc", label="cat", limit=1000))["results"]
        assert [r["id"] for r in rows] == [p.frame_id for p in sent[1:]]
        assert [c["frames"] for c in (await cloud.json("/v1/cameras"))["cameras"]] == [14, 15, 15, 15]
        assert len((await cloud.json("/v1/export", format="coco"))["annotations"]) == 59


async def test_hundreds_of_edges_share_one_engine(cloud: Running) -> None:
    async def one(name: str) -> int:
        async with cloud.edge(name) as edge:
            return len(await edge.deliver(*(packet(seq, cloud.payload(), camera=name) for seq in range(10))))

    assert sum(await asyncio.gather(*(one(f"e{i}") for i in range(40)))) == 400
    assert len((await cloud.json("/v1/cameras"))["cameras"]) == 40


async def test_each_edge_is_told_what_to_send_at_most(start: Start) -> None:
    async with start(edge_rate=12_345) as cloud, cloud.edge() as edge:
        assert (await edge.hear()).rate_hint.bytes_per_second == 12_345
        assert (await edge.deliver(packet(1, cloud.payload())))[0].seq == 1
