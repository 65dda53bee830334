"""Modes and operating points over HTTP: what is chosen is what travels, and what is not possible is said."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import Container, Layer, unpack
from common.geometry import letterbox_geometry
from common.network.back import Back
from common.network.front import Front
from common.payload import SHADOW, DetectionList, PictureCodec
from common.types import Mode
from edge import picture
from edge.encode import Encoder
from edge.points import Choice, Decided, Point
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
    assert body["chosen"] == {"mode": "split", "quality": "auto", "codec": "auto"}
    assert body["reason"] and body["cameras"] == {}
    assert (body["codec"], body["codec_reason"]) == ("tiny", "the current bundle")
    assert list(body["modes"]) == ["split", "image", "edge"]
    assert [p["quality"] for p in body["modes"]["split"]["points"]] == [2, 4, 8]
    assert body["modes"]["image"] == {
        "codec": "picture",
        "qualities": {"lowest": 1, "highest": 100},
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
    ({"mode": "cloud"}, "body/mode: Value error, a mode is one of split, image, edge and auto"),
    ({"mode": ["split"]}, "a mode is one of"),
    ({"mode": None}, "say a mode"),
    ({"quality": -1}, "quality"),
    ({"quality": 65536}, "quality"),
    ({"quality": "x"}, "body/quality: Value error, a quality is a whole number from 0 to 65535, or auto"),
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
            is_problem(
                await edge.http.patch("/v1/operating-point", json={"mode": mode}), 422, "is none of this bundle's"
            )
            answer = await edge.http.patch("/v1/operating-point", json={"mode": mode})
            file = {"image": "front.onnx", "edge": "back.onnx"}[mode]
            is_problem(answer, 422, f"{file} must have side both: `midstream bundle build`")
    async with start(mode="edge") as edge:
        assert (await coded(edge)).codec == 0, "a setting that is not possible does not stop the cameras"
        assert "cannot do" in (await edge.http.get("/v1/operating-point")).json()["reason"]


@pytest.fixture
def broken(tmp_path: Path) -> Bundle:
    """A bundle that allows every mode, if its back half were one."""
    manifest = tiny.write(tmp_path / "a").manifest.model_dump(exclude={"format", "files"})
    files: dict[str, tuple[bundles.Side, bytes]] = {
        "front.onnx": ("both", tiny.front()),
        "back.onnx": ("both", b"no network"),
    }
    return bundles.write(tmp_path, manifest, files)


async def test_a_back_half_that_does_not_load_is_said_when_it_is_chosen(start: Start, broken: Bundle) -> None:
    async with start(bundle=broken.path) as edge:
        answer = await edge.http.patch("/v1/operating-point", json={"mode": "edge"})
        is_problem(answer, 422, "back.onnx is not a network")
        assert (await coded(edge)).codec == 0
        edge.parts.points.set(Choice(Mode.EDGE, 0))  # behind the border's back
        is_problem(await edge.post(jpeg()), 503, "back.onnx is not a network")


@pytest.mark.parametrize("mode", ["auto", "edge"])
async def test_a_back_half_that_does_not_load_is_no_choice_of_the_edge(start: Start, broken: Bundle, mode: str) -> None:
    async with start(bundle=broken.path, mode=mode) as edge:
        assert list((await edge.http.get("/v1/operating-point")).json()["modes"]) == ["split", "image"]
        assert (await coded(edge)).codec == 0
    async with start(bundle=broken.path) as edge:
        assert list((await choose(edge, mode="auto", camera="b"))["modes"]) == ["split", "image"]


async def test_choices_made_at_once_are_all_kept(start: Start, whole: Bundle) -> None:
    async with start(bundle=whole.path) as edge:
        names = [f"c{i}" for i in range(60)]
        answers = await asyncio.gather(
            *(edge.http.patch("/v1/operating-point", json={"quality": 8, "camera": name}) for name in names)
        )
        assert {answer.status_code for answer in answers} == {200}
        assert set((await edge.http.get("/v1/operating-point")).json()["cameras"]) == set(names)
    async with start(bundle=whole.path) as edge:
        assert set((await edge.http.get("/v1/operating-point")).json()["cameras"]) == set(names)


async def test_a_cameras_choice_is_of_this_camera_alone(start: Start, whole: Bundle) -> None:
    async with start(bundle=whole.path) as edge:
        await choose(edge, quality=2, camera="a")
    async with start(bundle=whole.path, mode="image") as edge:
        body = (await edge.http.get("/v1/operating-point")).json()
        assert body["mode"] == "image" and body["cameras"]["a"]["quality"] == 2, "the settings count for the others"


async def test_a_choice_can_be_taken_back(start: Start, whole: Bundle) -> None:
    async with start(bundle=whole.path, max_cameras=1) as edge:
        await choose(edge, mode="image")
        await choose(edge, mode="edge", camera="a")
        full = await edge.http.patch("/v1/operating-point", json={"mode": "edge", "camera": "b"})
        is_problem(full, 422, "DELETE /v1/operating-point?camera=")
        gone = await edge.http.delete("/v1/operating-point", params={"camera": "a"})
        assert gone.status_code == 200 and gone.json()["cameras"] == {}
        assert (await coded(edge, "a")).codec == 3, "everybody's"
        await choose(edge, mode="edge", camera="b")
        is_problem(await edge.http.delete("/v1/operating-point", params={"camera": "/"}), 422, "camera")
        assert (await edge.http.delete("/v1/operating-point")).json()["chosen"]["mode"] == "split"
    async with start(bundle=whole.path) as edge:
        assert list((await edge.http.get("/v1/operating-point")).json()["cameras"]) == ["b"]


async def test_a_quality_alone_is_of_the_mode_that_auto_has_chosen(edge: Edge) -> None:
    await choose(edge, mode="auto")
    edge.parts.points.decided["a"] = Decided(Point(Mode.IMAGE, 75), "because")
    chosen = (await choose(edge, quality=33, camera="a"))["cameras"]["a"]["chosen"]
    assert chosen == {"mode": "image", "quality": 33, "codec": "auto"}
    assert (await choose(edge, quality=8))["chosen"] == {"mode": "split", "quality": 8, "codec": "auto"}


async def test_what_was_asked_for_and_cannot_be_is_said_when_the_bundle_is_there(start: Start) -> None:
    with capture_logs() as logs:
        async with start(mode="image", shadow=1) as edge:
            assert len((await coded(edge)).layers) == 1, "a picture that the cloud could not check by"
        async with start(quality=7):
            pass
    said = [(line["event"], line["hint"]) for line in logs if "hint" in line]
    assert [event for event, _ in said] == [
        "this bundle cannot do what was asked for",
        "no pictures go along with frames: the cloud could not check by them",
        "this bundle cannot do what was asked for",
    ]
    assert "front.onnx must have side both" in said[0][1] and "2, 4, 8" in said[2][1]


async def test_a_body_without_end_is_not_kept(edge: Edge) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 65536

    answer = await edge.http.patch(
        "/v1/operating-point", content=endless(), headers={"content-type": "application/json"}
    )
    is_problem(answer, 413, "larger than 65536 bytes")
    assert sent < 300, "some is read so that the answer is heard, and thrown away"


@pytest.mark.parametrize("damaged", ["[" * 200_000, " " * (5 << 20), '{"everybody": 3, "cameras": {}}', "\x00", "{}"])
async def test_a_damaged_file_of_choices_stops_nothing(start: Start, tmp_path: Path, damaged: str) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "operating-points.json").write_text(damaged)
    with capture_logs() as logs:
        async with start() as edge:
            assert (await coded(edge)).codec == 0
    assert any("cannot be read" in line["event"] for line in logs)


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
