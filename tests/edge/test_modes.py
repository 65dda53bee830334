"""Modes and operating points over HTTP: what is chosen is what travels, and what is not possible is said."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.bundle import Bundle
from common.codec import Container, Layer, unpack
from common.geometry import letterbox_geometry
from common.network.back import Back
from common.network.front import Front
from common.payload import SHADOW, DetectionList, PictureCodec
from common.types import Mode
from edge import picture
from edge.encode import Encoder
from edge.points import Point
from tests.edge import tiny
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import jpeg
from tests.edge.test_api import is_problem


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that allows every mode."""
    return tiny.write(tmp_path_factory.mktemp("whole"), side="both")


@pytest.fixture
async def edge(start: Start, whole: Bundle) -> AsyncIterator[Edge]:
    async with start(bundle=whole.path) as one:
        yield one


async def coded(edge: Edge, camera: str = "default", data: bytes | None = None) -> Container:
    """What travels for one more frame."""
    answer = await edge.post(data or jpeg(), x_camera_id=camera)
    assert answer.status_code == 202, answer.text
    await edge.parts.spool.settle()
    (frame,) = await edge.parts.spool.pending(answer.json()["seq"] - 1, 1, 1 << 20)
    return unpack(frame.payload)


async def choose(edge: Edge, **wanted: Any) -> dict[str, Any]:
    answer = await edge.http.patch("/v1/operating-point", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_is_chosen_is_what_travels(edge: Edge) -> None:
    frame = await coded(edge)
    assert (frame.codec, frame.quality) == (0, 4), "split, at the bundle's default"
    assert (await choose(edge, mode="image", camera="a"))["cameras"]["a"]["mode"] == "image"
    frame = await coded(edge, "a", jpeg(640, 480))
    assert (frame.codec, frame.quality) == (3, 75)
    assert PictureCodec().decode(frame.layers, letterbox_geometry(640, 480)).shape == (240, 320, 3)
    await choose(edge, mode="edge")
    assert (await coded(edge, "b")).codec == 4 and (await coded(edge, "a")).codec == 3
    await choose(edge, quality=30, camera="a")
    assert (await coded(edge, "a")).quality == 30, "a quality alone is of the mode in use"
    await choose(edge, mode="split", quality=8)
    assert (await coded(edge, "b")).quality == 8
    assert len((await coded(edge, "c")).layers) == 1


async def test_the_whole_network_here_finds_what_the_halves_find(edge: Edge, whole: Bundle) -> None:
    data = jpeg(500, 300, seed=4)
    await choose(edge, mode="edge")
    frame = await coded(edge, data=data)
    found = DetectionList(["person"], 10).decode(frame.layers, 500, 300)
    header = picture.read_header(data, 10**6)
    features = Front(whole).run(picture.decode(data, header, 320, 114))
    back = Back(whole, 1, 0.0)
    (raw,) = back.run([tensor[None] for tensor in features])
    expected = back.detections(raw, 500, 300)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.label == other.label and abs(one.score - other.score) < 1e-4
        assert one.box == pytest.approx(other.box, abs=0.02)


async def test_the_answer_lists_points_by_mode_and_what_to_expect(edge: Edge) -> None:
    body = (await edge.http.get("/v1/operating-point")).json()
    assert (body["mode"], body["quality"], body["expected_agreement"]) == ("split", 4, 0.92)
    assert body["chosen"] == {"mode": "split", "quality": "auto"} and body["reason"] and body["cameras"] == {}
    assert list(body["modes"]) == ["split", "image", "edge"]
    assert [p["quality"] for p in body["modes"]["split"]["points"]] == [2, 4, 8]
    assert body["modes"]["image"] == {
        "codec": "picture",
        "qualities": "1 to 100",
        "default_quality": 75,
        "points": [],
    }
    assert (await choose(edge, mode="edge"))["expected_agreement"] == 1
    assert (await choose(edge, mode="image"))["expected_agreement"] is None
    assert (await choose(edge, mode="split", quality=8, camera="a"))["cameras"]["a"]["reason"] == "fixed"
    await coded(edge, "seen")
    body = (await edge.http.get("/v1/operating-point")).json()
    assert body["cameras"].keys() == {"a", "seen"} and body["link"] == {"bytes_per_second": None}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"quality": 3}, "2, 4, 8"),
    ({"mode": "image", "quality": 101}, "1 to 100"),
    ({"mode": "image", "quality": 0}, "1 to 100"),
    ({"mode": "edge", "quality": 4}, "in mode edge: 0"),
    ({"mode": "auto", "quality": 4}, "with mode auto"),
    ({"mode": "cloud"}, "split"),
    ({"mode": None}, "say a mode"),
    ({"quality": -1}, "quality"),
    ({"quality": 65536}, "quality"),
    ({"quality": "x"}, "auto"),
    ({}, "say a mode"),
    ({"camera": "a"}, "say a mode"),
    ({"quality": 4, "x": 1}, "x"),
    ({"quality": 4, "camera": "/"}, "camera"),
    ({"quality": True}, "quality"),
]


async def test_what_is_out_of_range_changes_nothing(edge: Edge) -> None:
    before = (await edge.http.get("/v1/operating-point")).json()
    for wrong, says in WRONG:
        is_problem(await edge.http.patch("/v1/operating-point", json=wrong), 422, says)
    assert (await edge.http.get("/v1/operating-point")).json() == before


async def test_a_mode_the_files_do_not_allow_is_refused_with_the_reason(start: Start) -> None:
    async with start() as edge:  # a bundle with the usual files
        assert list((await edge.http.get("/v1/operating-point")).json()["modes"]) == ["split"]
        for mode in ("image", "edge"):
            is_problem(await edge.http.patch("/v1/operating-point", json={"mode": mode}), 422, "is none of this bundle")
    async with start(mode="edge") as edge:
        assert (await coded(edge)).codec == 0, "a setting that is not possible does not stop the cameras"
        assert "cannot do" in (await edge.http.get("/v1/operating-point")).json()["reason"]


async def test_a_back_half_that_does_not_load_is_said_when_it_is_chosen(start: Start, tmp_path: Path) -> None:
    from common import bundle as bundles

    manifest = tiny.write(tmp_path / "a").manifest.model_dump(exclude={"format", "files"})
    files: dict[str, tuple[bundles.Side, bytes]] = {
        "front.onnx": ("both", tiny.front()),
        "back.onnx": ("both", b"no network"),
    }
    broken = bundles.write(tmp_path, manifest, files)
    async with start(bundle=broken.path) as edge:
        answer = await edge.http.patch("/v1/operating-point", json={"mode": "edge"})
        is_problem(answer, 422, "back.onnx is not a network")
        assert (await coded(edge)).codec == 0


async def test_choices_survive_a_restart(start: Start, whole: Bundle) -> None:
    async with start(bundle=whole.path) as edge:
        await choose(edge, mode="edge")
        before = await choose(edge, mode="split", quality=2, camera="a")
    async with start(bundle=whole.path, quality=8) as edge:
        assert (await edge.http.get("/v1/operating-point")).json() == before
        assert (await coded(edge, "a")).quality == 2 and (await coded(edge, "b")).codec == 4


async def test_frames_of_one_camera_stay_in_order_through_all_modes(start: Start, whole: Bundle) -> None:
    peer = await Peer(whole.path).start()
    try:
        async with start(peer, encode_workers=4) as edge:
            posts = []
            for i in range(24):
                if i % 4 == 0:
                    await choose(edge, mode=("split", "image", "edge", "auto")[i // 4 % 4], camera="one")
                posts.append(asyncio.create_task(edge.post(jpeg(200, 200, i), x_camera_id="one")))
                await asyncio.sleep(0.005)
            answers = await asyncio.gather(*posts)
            await until(lambda: len(peer.packets) == 24)
            assert [p.frame_id for p in peer.packets] == [a.json()["id"] for a in answers]
            assert {unpack(p.payload).codec for p in peer.packets} == {0, 3, 4}
            text = (await edge.http.get("/metrics")).text
            assert 'midstream_mode{camera="one",mode="image"} 1.0' in text
            assert "midstream_goodput_bytes_per_second +Inf" in text
    finally:
        await peer.stop()


@pytest.mark.parametrize(("every", "shadowed"), [(0, False), (1, True)])
async def test_shadows_go_along_when_asked_for(start: Start, whole: Bundle, every: int, shadowed: bool) -> None:
    async with start(bundle=whole.path, shadow=every) as edge:
        for mode in ("split", "edge"):
            await choose(edge, mode=mode)
            frame = await coded(edge, data=jpeg(400, 100))
            assert [layer.kind for layer in frame.layers] == ([0, SHADOW] if shadowed else [0])
            if shadowed:
                beside = [Layer(0, frame.layers[1].payload)]
                assert PictureCodec().decode(beside, letterbox_geometry(400, 100)).shape == (80, 320, 3)
        await choose(edge, mode="image")
        assert len((await coded(edge)).layers) == 1, "that is the picture already"
        await choose(edge, mode="split")
        edge.parts.intake.limited = lambda: True
        assert len((await coded(edge)).layers) == 1, "not over a link that is the limit"


def test_modes_are_what_the_files_allow(tmp_path: Path, whole: Bundle) -> None:
    sides = {
        ("edge", "cloud"): ["split"],
        ("both", "cloud"): ["split", "image"],
        ("edge", "both"): ["split", "edge"],
        ("both", "both"): ["split", "image", "edge"],
        ("cloud", "cloud"): ["image"],
        ("cloud", "edge"): [],
    }
    files = whole.manifest.files
    for (front, back), modes in sides.items():
        moved = {
            "front.onnx": files["front.onnx"].model_copy(update={"side": front}),
            "back.onnx": files["back.onnx"].model_copy(update={"side": back}),
        }
        assert list(whole.manifest.model_copy(update={"files": moved}).modes) == modes


def test_encoding_is_the_same_whatever_went_before(whole: Bundle) -> None:
    one, other = Encoder(whole), Encoder(whole)
    data = jpeg(333, 222)
    points = [Point(Mode.SPLIT, 4), Point(Mode.IMAGE, 60), Point(Mode.EDGE, 0)]
    forward = [one.encode(data, point).container for point in points]
    assert [other.encode(data, point).container for point in reversed(points)] == forward[::-1]
