"""What a camera and an operator see over HTTP."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from common.bundle import Bundle
from common.codec import unpack
from common.wire import stream_pb2 as pb
from edge import intake as intakes
from edge.api import instant_us, seconds
from edge.encode import Encoded
from edge.points import Point
from edge.settings import ENVELOPE_BYTES
from edge.spool import Frame, SpoolError
from edge.spool.records import FRAME_OVERHEAD
from tests.edge.conftest import Start
from tests.edge.peer import Peer, nack, silent, until
from tests.edge.pictures import jpeg, png_bomb, save, scene


def is_problem(answer: httpx.Response, status: int, says: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"].startswith("urn:midstream:problem:") and body["title"] and body["status"] == status
    assert says in body["detail"], body["detail"]


async def test_202_says_where_to_ask(start: Start, bundle: Bundle) -> None:
    data = jpeg(640, 480)
    async with start() as edge:
        answer = await edge.post(data, x_camera_id="door", x_capture_time="2026-05-01T12:00:00.5Z")
        body = answer.json()
        assert answer.status_code == 202 and answer.headers["location"] == f"/v1/frames/{body['id']}"
        assert body["camera"] == "door" and body["seq"] == 1
        assert body["bytes"]["source"] == len(data) > body["bytes"]["coded"] > 32
        assert {"decode_picture", "front", "code", "spool"} <= body["timing"].keys()
        ledger = (await edge.http.get(answer.headers["location"])).json()
        assert ledger["state"] == "queued" and ledger["captured_at"] == "2026-05-01T12:00:00.500000Z"
        assert ledger["id"] == body["id"] and ledger["picture"] == "kept" and ledger["bytes"] == body["bytes"]
        (waiting,) = await edge.parts.spool.pending(0, 10, 1 << 20)
        container = unpack(waiting.payload)
        assert container.bundle == bundle.prefix and (container.width, container.height) == (640, 480)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_other_pictures_and_multipart(start: Start, kind: str) -> None:
    data = save(scene(), kind)
    async with start() as edge:
        assert (await edge.post(data, content_type="application/octet-stream")).status_code == 202
        answer = await edge.http.post("/v1/frames", files={"image": ("a", data)}, headers={"X-Camera-Id": "m"})
        assert answer.status_code == 202 and answer.json()["bytes"]["source"] == len(data)
        (_, last) = await edge.parts.spool.pending(0, 10, 1 << 20)
        assert last.camera == "m"
        assert (await edge.parts.spool.picture(last.frame_id)).content_type == f"image/{kind.lower()}"
        is_problem(await edge.http.post("/v1/frames", files={"picture": ("a", data)}), 422, "'image'")
        is_problem(await edge.http.post("/v1/frames", data={"image": "text"}, files={"x": b""}), 422, "'image'")
        broken = {"content-type": "multipart/form-data; boundary=x"}
        is_problem(await edge.http.post("/v1/frames", content=b"no parts", headers=broken), 422, "multipart")


async def test_what_curl_says_of_a_body_is_not_believed(start: Start) -> None:
    async with start() as edge:
        answer = await edge.post(jpeg(), content_type="application/x-www-form-urlencoded")
        assert answer.status_code == 202


async def test_numbers_are_as_exact_as_they_are_meant(start: Start, peer: Peer) -> None:
    found = pb.Detection(label="person", score=0.123456, x1=1.1, y1=2.2, x2=30.3, y2=40.456)
    peer.verdict = lambda p: pb.IngestResponse(ack=pb.Ack(seq=p.seq, detections=[found]))
    async with start(peer) as edge:
        answer = await edge.post(jpeg(), wait="10s")
        assert answer.json()["detections"] == [{"label": "person", "score": 0.1235, "box": [1.1, 2.2, 30.3, 40.46]}]


async def test_wait_brings_the_detections(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        answer = await edge.post(jpeg(), wait="10s")
        assert answer.status_code == 200
        assert answer.json()["detections"] == [{"label": "person", "score": 0.5, "box": [1, 2, 30, 40]}]
        assert peer.packets[0].want_result
        await edge.post(jpeg(seed=2))
        await until(lambda: len(peer.packets) == 2)
        assert not peer.packets[1].want_result
        await edge.parts.spool.settle()
        assert await edge.state(answer.json()["id"]) == "done"


async def test_wait_ends_with_202_when_the_cloud_is_slow(start: Start, peer: Peer) -> None:
    peer.verdict = silent
    async with start(peer) as edge:
        answer = await edge.post(jpeg(), wait="50ms")
        assert answer.status_code == 202 and "detections" not in answer.json()
        await until(lambda: edge.parts.uplink and not edge.parts.uplink.expected)
        assert (await edge.post(jpeg(), wait="0")).status_code == 202


async def test_wait_hears_of_a_refusal(start: Start, peer: Peer) -> None:
    peer.verdict = lambda p: nack(p, pb.NACK_REASON_CORRUPT, "layer 0: checksum")
    async with start(peer) as edge:
        answer = await edge.post(jpeg(), wait="10s")
        is_problem(answer, 502, "corrupt: layer 0: checksum")
        await edge.parts.spool.settle()
        assert await edge.state(answer.json()["id"]) == "failed: corrupt: layer 0: checksum"


async def test_a_repeated_key_is_the_same_frame(start: Start, peer: Peer) -> None:
    data = jpeg()
    async with start(peer) as edge:
        first, again = await asyncio.gather(*(edge.post(data, idempotency_key="k") for _ in range(2)))
        assert first.status_code == again.status_code == 202
        assert first.json()["id"] == again.json()["id"]
        assert sorted(a.headers.get("idempotent-replay", "") for a in (first, again)) == ["", "true"]
        await until(lambda: edge.parts.spool.stats.ended)
        late = await edge.post(data, wait="5s", idempotency_key="k")
        assert late.status_code == 202 and late.json()["id"] == first.json()["id"]
        is_problem(await edge.post(jpeg(seed=3), idempotency_key="k"), 422, "use a new key")
        assert len(peer.packets) == 1


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"x_camera_id": "a b"}, "X-Camera-Id"),
        ({"x_camera_id": "x" * 65}, "X-Camera-Id"),
        ({"x_capture_time": "yesterday"}, "X-Capture-Time"),
        ({"x_capture_time": "2026-05-01T12:00:00"}, "time zone"),
        ({"x_capture_time": "nan"}, "X-Capture-Time"),
        ({"x_capture_time": "-1"}, "X-Capture-Time"),
        ({"x_capture_time": "0"}, "between 1970 and 2100"),
        ({"x_capture_time": "1e-9"}, "between 1970 and 2100"),
        ({"x_capture_time": "inf"}, "between 1970 and 2100"),
        ({"x_capture_time": "1790000000000"}, "in seconds"),
        ({"x_capture_time": "2150-01-01T00:00:00Z"}, "between 1970 and 2100"),
        ({"idempotency_key": "x" * 129}, "Idempotency-Key"),
        ({"idempotency_key": ""}, "Idempotency-Key"),
    ],
)
async def test_headers_out_of_range(start: Start, headers: dict[str, str], says: str) -> None:
    async with start() as edge:
        is_problem(await edge.post(jpeg(), **headers), 422, says)


def test_times_and_durations() -> None:
    assert instant_us("1714564800.5") == instant_us("2024-05-01T12:00:00.5Z") == 1714564800_500000
    assert instant_us("2024-05-01T14:00:00.5+02:00") == 1714564800_500000
    assert [seconds(t) for t in ("5", "5s", "500ms", "0.25s", "9999s")] == [5, 5, 0.5, 0.25, 30]


async def test_bodies_that_are_no_picture(start: Start) -> None:
    async with start() as edge:
        is_problem(await edge.post(b"GIF89a" + bytes(100)), 415, "JPEG, PNG or WebP")
        is_problem(await edge.post(jpeg(), content_type="text/plain"), 415, "text/plain")
        is_problem(await edge.post(b"image=x", content_type="application/x-www-form-urlencoded"), 415, "JPEG")
        is_problem(await edge.post(b""), 422, "empty")
        is_problem(await edge.post(jpeg()[:500]), 422, "cut short")
        is_problem(await edge.post(png_bomb()), 422, "decompression bomb")
        is_problem(await edge.post(jpeg(), wait="soon"), 422, "wait")
        assert edge.parts.spool.stats.queued == 0 and edge.parts.intake.frames == 0


async def test_too_large_is_413_whether_declared_or_not(start: Start) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1000)

    async with start(max_body_bytes=10_000) as edge:
        is_problem(await edge.post(bytes(10_001)), 413, "10000 bytes")
        is_problem(await edge.http.post("/v1/frames", content=endless()), 413, "10000 bytes")
        files = {"image": ("a", bytes(10_001))}
        is_problem(await edge.http.post("/v1/frames", files=files), 413, "10000 bytes")
        assert edge.parts.intake.frames == 0


async def test_more_than_there_is_room_for_is_429(start: Start) -> None:
    async with start(encode_queue=2) as edge:
        with edge.parts.intake.room(10), edge.parts.intake.room(10):
            answer = await edge.post(jpeg())
            is_problem(answer, 429, "send slower")
            assert int(answer.headers["retry-after"]) >= 1
        assert (await edge.post(jpeg())).status_code == 202
        with edge.parts.intake.room(edge.parts.settings.body_bytes_in_hand - 100):
            is_problem(await edge.post(jpeg()), 429, "send slower")


async def test_the_largest_picture_has_room_in_either_form(start: Start) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"no picture"

    async with start(max_body_bytes=1 << 20, body_bytes_in_hand=(1 << 20) + ENVELOPE_BYTES) as edge:
        for kind in ("image/jpeg", "multipart/form-data; boundary=b"):
            answer = await edge.http.post("/v1/frames", content=endless(), headers={"content-type": kind})
            assert answer.status_code in (415, 422), "judged, not sent away"


async def test_the_disks_time_is_told_but_is_none_of_the_encoders(start: Start) -> None:
    async with start() as edge:
        assert "spool" in (await edge.post(jpeg())).json()["timing"]
        (costs,) = edge.parts.control._costs.values()
        assert costs.stages.keys() == {"decode_picture", "front", "code"}
        assert sum(costs.stages.values()) == pytest.approx(sum(costs.modes.values()))


async def test_a_full_spool_is_503_and_what_is_in_it_stays(start: Start) -> None:
    async with start(spool_max_bytes=65536) as edge:
        answers = [await edge.post(jpeg(seed=i)) for i in range(5)]
        room = 65536 - edge.parts.spool.stats.charged - FRAME_OVERHEAD
        spare = edge.parts.spool.put(_frame(bytes(room - 10)))
        await spare
        answer = await edge.post(jpeg())
        is_problem(answer, 503, "kept until the cloud takes them")
        assert answer.json()["type"].endswith(":spool-full") and int(answer.headers["retry-after"]) >= 1
        assert [await edge.state(a.json()["id"]) for a in answers] == ["queued"] * 5


def _frame(payload: bytes) -> Frame:
    now = intakes.now_us()
    return Frame(intakes.uuid7(), "door", now, now, payload, {}, "image/jpeg", b"")


async def test_a_disk_that_takes_nothing_is_503_and_not_ready(start: Start) -> None:
    async with start() as edge:
        await edge.parts.spool.settle()
        await asyncio.to_thread(edge.parts.spool._book._db.execute, "PRAGMA query_only=ON")
        is_problem(await edge.post(jpeg()), 503, "cannot be written")
        is_problem(await edge.post(jpeg()), 503, "cannot be written")
        ready = await edge.http.get("/readyz")
        assert ready.status_code == 503 and ready.json()["components"]["spool"]["status"] == "failing"
        await asyncio.to_thread(edge.parts.spool._book._db.execute, "PRAGMA query_only=OFF")
        await until(lambda: not edge.parts.spool.trouble)
        assert (await edge.post(jpeg())).status_code == 202


async def test_draining_is_503_with_retry_after(start: Start) -> None:
    async with start() as edge:
        await edge.parts.intake.drain()
        answer = await edge.post(jpeg())
        is_problem(answer, 503, "stopping")
        assert "retry-after" in answer.headers
        assert (await edge.http.get("/readyz")).status_code == 503
        assert (await edge.http.get("/livez")).status_code == 200


async def test_one_cameras_frames_stay_in_order_though_two_threads_code_them(start: Start) -> None:
    async with start(encode_workers=4) as edge:
        # Large ones take longer to decode than the small ones behind them.
        pictures = [jpeg(1600, 1200, i) if i % 2 else jpeg(64, 64, i) for i in range(12)]
        answers = await asyncio.gather(*(edge.post(p, x_camera_id="one") for p in pictures))
        seqs = [a.json()["seq"] for a in answers]
        assert seqs == sorted(seqs)


async def test_a_bad_picture_between_two_does_not_change_their_order(start: Start) -> None:
    async with start(encode_workers=4) as edge:
        encoder, slow = edge.parts.codecs.current, threading.Event()
        assert encoder is not None
        pictures = [jpeg(seed=1), jpeg(seed=2)[:500], jpeg(seed=3)]

        class Held:
            ways, bundle, curves, temporal = encoder.ways, encoder.bundle, encoder.curves, False

            def encode(self, data: bytes, point: Point, shadow: bool, after: object) -> Encoded:
                if data == pictures[0]:
                    slow.wait(10)
                return encoder.encode(data, point, shadow)

        edge.parts.codecs.current = Held()  # type: ignore[assignment]
        posts = []
        for picture in pictures:
            posts.append(asyncio.create_task(edge.post(picture)))
            await asyncio.sleep(0.05)
        await asyncio.wait([posts[1]], timeout=10)
        await asyncio.sleep(0.2)
        assert not posts[2].done(), "coded, but the first is not yet"
        slow.set()
        first, bad, last = await asyncio.gather(*posts)
        assert (first.json()["seq"], bad.status_code, last.json()["seq"]) == (1, 422, 2)
        await until(lambda: not edge.parts.intake._turns)


async def test_the_bundle_the_spool_and_health(start: Start, bundle: Bundle, peer: Peer) -> None:
    async with start(peer) as edge:
        await edge.post(jpeg(), wait="10s")
        await edge.parts.spool.settle()
        found = (await edge.http.get("/v1/bundle")).json()
        assert found["digest"] == bundle.digest and found["name"] == "tiny" and len(found["operating_points"]) == 3
        spool = (await edge.http.get("/v1/spool")).json()
        assert spool["frames"]["queued"] == 0 and spool["pictures"]["kept"] == 1
        assert spool["ledger"]["ended"] == [{"state": "done", "reason": "", "frames": 1}]
        assert spool["limits"]["bytes"] == edge.parts.settings.spool_max_bytes
        for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"):
            assert (await edge.http.get(path)).status_code == 200, path
        await peer.stop()
        await until(lambda: edge.parts.uplink and not edge.parts.uplink.state.up)
        ready = await edge.http.get("/readyz")
        assert ready.status_code == 200 and ready.json()["components"]["link"]["status"] == "degraded"


async def test_metrics_have_the_agreed_names(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await edge.post(jpeg(), wait="10s", x_camera_id="door")
        await edge.parts.spool.settle()
        text = (await edge.http.get("/metrics")).text
        for line in (
            'midstream_frames_total{camera="door",outcome="done"} 1.0',
            'midstream_stage_duration_seconds_count{stage="front"} 1.0',
            'midstream_stage_duration_seconds_count{stage="spool"} 1.0',
            'midstream_stage_duration_seconds_count{stage="queue"} 1.0',
            'midstream_feature_bytes_count{layer="base"} 1.0',
            'midstream_operating_point{camera="door"} 4.0',
            "midstream_link_up 1.0",
            f'midstream_link_bytes_total{{dir="out"}} {len(peer.packets[0].payload)}.0',
            'midstream_spool_bytes{kind="frames"} 0.0',
        ):
            assert line in text.splitlines(), line


async def test_camera_labels_are_bounded(start: Start, peer: Peer) -> None:
    async with start(peer, max_cameras=2) as edge:
        for camera in "abcd":
            await edge.post(jpeg(), wait="10s", x_camera_id=camera)
        await edge.parts.spool.settle()
        text = (await edge.http.get("/metrics")).text
        assert 'midstream_frames_total{camera="other",outcome="done"} 2.0' in text


async def test_every_error_is_a_problem(start: Start) -> None:
    async with start() as edge:
        is_problem(await edge.http.get("/nowhere"), 404, "/docs")
        is_problem(await edge.http.get("/v1/frames/nobody"), 404, "nobody")
        is_problem(await edge.http.put("/v1/frames"), 405, "PUT")
        is_problem(await edge.http.delete("/v1/spool"), 405, "DELETE")


async def test_a_mistake_of_ours_is_a_500_that_tells_nothing(start: Start) -> None:
    async with start() as edge:
        edge.parts.codecs.current = object()  # type: ignore[assignment]
        is_problem(await edge.post(jpeg()), 500, "log")
        assert edge.parts.intake.frames == 0


async def test_everything_is_documented(start: Start) -> None:
    async with start() as edge:
        document: dict[str, Any] = (await edge.http.get("/openapi.json")).json()
        post = document["paths"]["/v1/frames"]["post"]
        assert {"202", "200", "413", "415", "422", "429", "503"} <= post["responses"].keys()
        assert {p["name"] for p in post["parameters"]} >= {"X-Camera-Id", "Idempotency-Key", "wait"}
        for path in ("/v1/frames/{frame_id}", "/v1/spool", "/v1/operating-point", "/v1/bundle", "/readyz", "/metrics"):
            assert path in document["paths"]
        assert (await edge.http.get("/docs")).status_code == 200


async def test_reading_the_ledger_survives_a_broken_spool(start: Start) -> None:
    async with start() as edge:
        edge.parts.spool._reader._db.close()
        is_problem(await edge.http.get("/v1/frames/x"), 503, "cannot read")
        with pytest.raises(SpoolError):
            await edge.parts.spool.picture("x")
