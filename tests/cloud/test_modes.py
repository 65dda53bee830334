"""Whatever travels, the cloud makes results of it, says where they were made, and checks them when asked to."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cloud.settings import Settings
from cloud.shadow import agreement
from common.codec import Container, Layer, pack, unpack
from common.payload import SHADOW, DetectionList, PictureCodec
from common.types import Detection
from common.wire import stream_pb2 as wire
from tests.cloud import tiny
from tests.cloud.conftest import Running, running
from tests.cloud.speaker import packet, until

CELLS = {(0, 1, 2): 0.9, (1, 3, 0): 0.6}


@pytest.fixture
async def cloud(settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[Running]:
    bundle = tiny.write(tmp_path / "b", modes=True)
    async with running(settings(bundles_dir=tmp_path / "b"), bundle) as one:
        yield one


def features(cloud: Running) -> bytes:
    return cloud.payload(CELLS)


def picture(cloud: Running, quality: int = 90) -> bytes:
    layers = PictureCodec().encode(tiny.pixels(CELLS), quality)
    return pack(Container(cloud.bundle.prefix, 3, quality, 320, 320, layers))


def detections(cloud: Running) -> bytes:
    found = [
        Detection(tiny.LABELS[label], score, tuple(map(float, tiny.box(row, column))))  # type: ignore[arg-type]
        for (label, row, column), score in CELLS.items()
    ]
    layers = DetectionList(tiny.LABELS, 10).encode(found, 320, 320)
    return pack(Container(cloud.bundle.prefix, 4, 0, 320, 320, layers))


def shadowed(payload: bytes) -> bytes:
    c = unpack(payload)
    (beside,) = PictureCodec().encode(tiny.pixels(CELLS), 90)
    layers = [*c.layers, Layer(SHADOW, beside.payload)]
    return pack(Container(c.bundle, c.codec, c.quality, c.width, c.height, layers))


async def results(cloud: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await cloud.json("/v1/results", order="asc"))["results"]
    return found


async def test_all_modes_give_the_same_result_and_say_where_it_was_made(cloud: Running) -> None:
    async with cloud.edge() as edge:
        sent = [features(cloud), picture(cloud), detections(cloud)]
        answers = await edge.deliver(*(packet(i + 1, data, want_result=True) for i, data in enumerate(sent)))
        assert all(isinstance(answer, wire.Ack) for answer in answers)
        assert all(answer.held_ms > 0 for answer in answers), "what was not the link's"
    rows = await results(cloud)
    assert [(r["provenance"], r["codec"], r["quality"]) for r in rows] == [
        ("split", "lightweight", 16),
        ("image", "picture", 90),
        ("edge", "detections", 0),
    ]
    assert [r["expected_agreement"] for r in rows] == [0.9, 0.9, 1]
    assert "front" in rows[1]["timing"] and "back" in rows[0]["timing"] and "back" not in rows[2]["timing"]
    for row in rows:
        assert [d["label"] for d in row["detections"]] == ["cat", "dog"]
        for found, (cell, score) in zip(row["detections"], CELLS.items(), strict=True):
            assert found["box"] == tiny.box(*cell[1:]) and abs(found["score"] - score) < 0.05


@pytest.mark.parametrize(("quality", "expected"), [(50, 0.5), (70, 0.7), (49, None), (91, None)])
async def test_what_to_expect_lies_between_the_measured_points(
    cloud: Running, quality: int, expected: float | None
) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, picture(cloud, quality)))
    assert [r["expected_agreement"] for r in await results(cloud)] == [expected]
    (camera,) = (await cloud.json("/v1/cameras"))["cameras"]
    assert camera["last_result"]["expected_agreement"] == expected
    only = await cloud.json("/v1/results", fields="expected_agreement,provenance")
    assert only["results"] == [{"expected_agreement": expected, "provenance": "image"}]


async def test_frames_of_all_kinds_share_a_batch_in_order(cloud: Running) -> None:
    async with cloud.edge() as edge:
        kinds = [features, picture, detections]
        packets = [packet(i, kinds[i % 3](cloud)) for i in range(1, 25)]
        await edge.deliver(*packets)
    rows = await results(cloud)
    assert [r["id"] for r in rows] == [p.frame_id for p in packets]
    assert [r["provenance"] for r in rows] == [("split", "image", "edge")[i % 3] for i in range(1, 25)]


BAD: list[tuple[int, int, bytes, str]] = [
    (3, 1, b"", "a whole JPEG"),
    (3, 1, b"\xff\xd8\xff\xd9", "a JPEG that can be decoded"),
    (3, 0, b"", "quality: expected 1 to 100 with codec 3, got 0"),
    (3, 101, b"", "quality: expected 1 to 100 with codec 3, got 101"),
    (4, 0, b"\0", "a multiple of 12"),
    (4, 0, b"\0" * 12 * 11, "at most 120"),
    (4, 0, b"\0\2" + b"\0" * 10, "label"),
    (4, 1, b"", "quality: expected 0 to 0 with codec 4, got 1"),
    (5, 1, b"", "codec: expected one of 0"),
]


async def test_what_is_wrong_is_named_and_stops_nothing(cloud: Running) -> None:
    async with cloud.edge() as edge:
        sent = [pack(Container(cloud.bundle.prefix, c, q, 320, 320, [Layer(0, data)])) for c, q, data, _ in BAD]
        answers = await edge.deliver(*(packet(i + 1, data) for i, data in enumerate([*sent, features(cloud)])))
    for (*_, says), nack in zip(BAD, answers, strict=False):
        assert nack.reason == wire.NACK_REASON_CORRUPT and says in nack.detail
    assert isinstance(answers[-1], wire.Ack)


async def test_a_picture_has_no_shadow(cloud: Running) -> None:
    async with cloud.edge() as edge:
        nack, ack = await edge.deliver(packet(1, shadowed(picture(cloud))), packet(2, shadowed(detections(cloud))))
    assert nack.reason == wire.NACK_REASON_CORRUPT and "one base layer" in nack.detail
    assert isinstance(ack, wire.Ack)


async def test_a_bundle_that_keeps_its_front_half_takes_no_pictures(start: Any) -> None:
    async with start() as usual, usual.edge() as edge:
        (nack,) = await edge.deliver(packet(1, picture(usual)))
    assert nack.reason == wire.NACK_REASON_CORRUPT and "expected one of 0 (lightweight), 4 (detections)" in nack.detail


async def test_a_shadow_is_checked_and_changes_no_result(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, shadowed(features(cloud))), packet(2, features(cloud)))
        await edge.deliver(packet(3, shadowed(cloud.payload({(0, 1, 2): 0.9}))))
        bad = unpack(features(cloud))
        bad.layers.append(Layer(SHADOW, b"no picture"))
        await edge.deliver(packet(4, pack(bad)))
    rows = await results(cloud)
    found = [[(d["label"], d["score"], d["box"]) for d in row["detections"]] for row in rows]  # tracks go on
    assert len(rows) == 4 and found[0] == found[1] == found[3]
    checked = cloud.parts.metrics.shadow_agreement.labels("door", "reference")
    await until(lambda: sum(b.get() for b in checked._buckets) == 2)
    text = (await cloud.http.get("/metrics")).text
    assert 'midstream_shadow_agreement_sum{camera="door",of="reference"} 1.5' in text, "one of two was missed"
    assert 'midstream_shadow_agreement_sum{camera="door",of="result"} 2.0' in text
    assert await cloud.counter('midstream_decode_errors_total{kind="shadow"}') == 1
    assert await cloud.counter('midstream_shadow_saved_bytes_total{camera="door"}') > 0


def test_agreement_is_of_label_and_place() -> None:
    cat = Detection("cat", 0.8, (0, 0, 100, 100))
    near, far = Detection("cat", 0.1, (0, 0, 100, 60)), Detection("cat", 0.9, (0, 0, 100, 40))
    dog, faint = Detection("dog", 0.8, (0, 0, 100, 100)), Detection("cat", 0.29, (0, 0, 100, 100))
    assert agreement([cat], [near]) == 1 and agreement([cat], [far]) == 0 and agreement([cat], [dog]) == 0
    assert agreement([cat, dog], [cat]) == 0.5
    assert agreement([faint], [cat]) is None and agreement([], [cat]) is None and agreement([cat], []) == 0
