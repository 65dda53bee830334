"""Clips: the frames of a camera as a video, pulled from the edge where they are not here."""

import asyncio
import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from cloud import film
from cloud.film import Film, TooLargeError
from common.ids import uuid7
from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running, Start
from tests.cloud.layered import asked, reply
from tests.cloud.speaker import Edge, packet, until

SIZE = 320
BEGAN_US = 1_700_000_000_000_000
TIMES_MS = (0, 100, 200, 1200, 1300, 2000)
CLIP = "/v1/cameras/door/clip"


def at(ms: int) -> str:
    return datetime.fromtimestamp((BEGAN_US / 1000 + ms) / 1000, UTC).isoformat()


def when(since: int = 0, until: int = 10_000, **more: Any) -> dict[str, Any]:
    return {"since": at(since), "until": at(until), "layer": "original", **more}


def jpeg(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


async def take(cloud: Running, edge: Edge, times: Sequence[int] = TIMES_MS, camera: str = "door") -> dict[str, int]:
    """Frames captured at these milliseconds, each with something in it; their ids and places."""
    payload = cloud.payload({(0, 1, 2): 1.0}, SIZE)
    sent = [
        packet(i, payload, camera, captured_unix_us=BEGAN_US + ms * 1000, frame_id=uuid7())
        for i, ms in enumerate(times, 1)
    ]
    assert all(isinstance(ack, wire.Ack) for ack in await edge.deliver(*sent))
    return {one.frame_id: i for i, one in enumerate(sent)}


async def give(edge: Edge, places: dict[str, int], gone: Sequence[int] = ()) -> None:
    """Answer as an edge that kept all but these pictures; each is a grey of its own."""
    while True:
        request = await asked(edge)
        place = places[request.frame_id]
        if place in gone:
            await reply(edge, request, status=wire.LAYER_STATUS_GONE, content_type="", detail="the ring has gone round")
        else:
            await reply(edge, request, jpeg(20 + 30 * place), content_type="image/jpeg")


async def made(cloud: Running, keeper: Edge, places: dict[str, int], gone: Sequence[int] = (), **more: Any) -> Any:
    """The clip, with an edge that gives what it is asked for."""
    giving = asyncio.create_task(give(keeper, places, gone))
    try:
        return await cloud.http.get(CLIP, params=when(wait="20s", **more))
    finally:
        giving.cancel()
        await asyncio.wait([giving])


def played(answer: httpx.Response) -> tuple[list[int], list[int], int]:
    """Milliseconds and greys of the frames of a clip, and how long it lasts."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.duration
        lasts = round(container.duration / 1000)
        frames = list(container.decode(video=0))
    times = [round(float(frame.time or 0) * 1000) for frame in frames]
    return times, [int(frame.to_ndarray(format="rgb24")[160, 300].mean()) for frame in frames], lasts


async def test_pictures_are_pulled_and_shown_when_they_were_taken(cloud: Running) -> None:
    async with cloud.edge() as edge:
        places = await take(cloud, edge)
        first = await cloud.http.get(CLIP, params=when())
        assert first.status_code == 202 and first.headers["retry-after"] == "1"
        assert first.json() == {"status": "fetching", "here": 0, "of": 6, "retry_after": 1}
        answer = await made(cloud, edge, places)
        times, greys, lasts = played(answer)
        assert times == list(TIMES_MS) and lasts == 2700
        assert np.allclose(greys, [20 + 30 * i for i in range(6)], atol=6)
        assert answer.headers["midstream-frames"] == "6/6"
    # The edge is away, the clip is here; so are the pictures of another one.
    assert (await cloud.http.get(CLIP, params=when())).content == answer.content
    part = await cloud.http.get(CLIP, params=when(), headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == b"ftyp"
    times, _, _ = played(await cloud.http.get(CLIP, params=when(fps=4, wait="20s")))
    assert times == [0, 1200, 2000]
    times, _, _ = played(await cloud.http.get(CLIP, params=when(100, 1300, wait="20s")))
    assert times == [0, 100, 1100]


async def test_frames_that_are_gone_are_left_out_and_counted(cloud: Running) -> None:
    async with cloud.edge() as edge:
        places = await take(cloud, edge)
        answer = await made(cloud, edge, places, gone=(0, 3))
        times, greys, _ = played(answer)
        assert answer.headers["midstream-frames"] == "4/6"
        assert times == [0, 100, 1200, 1900]
        assert np.allclose(greys, [50, 80, 140, 170], atol=6)


async def test_where_everything_is_gone_it_is_said(cloud: Running) -> None:
    async with cloud.edge() as edge:
        places = await take(cloud, edge, (0, 100))
        answer = await made(cloud, edge, places, gone=(0, 1))
        assert answer.status_code == 410 and "the ring has gone round" in answer.json()["detail"]


async def test_what_could_not_be_kept_is_fetched_again(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, store = cloud.parts.layers, cloud.parts.store
    monkeypatch.setattr(layers, "_pause", 0.5)
    async with cloud.edge() as edge:
        places = await take(cloud, edge, (0,))
        async with store._engine.begin() as connection:
            full = "CREATE TRIGGER full BEFORE INSERT ON pictures BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            await connection.execute(text(full))
        making = asyncio.create_task(cloud.http.get(CLIP, params=when(wait="20s")))
        await reply(edge, await asked(edge), jpeg(20), content_type="image/jpeg")
        await until(lambda: bool(layers._refused))
        async with store._engine.begin() as connection:
            await connection.execute(text("DROP TRIGGER full"))
        giving = asyncio.create_task(give(edge, places))
        assert (await making).headers["midstream-frames"] == "1/1"
        giving.cancel()
        await asyncio.wait([giving])


async def test_boxes_are_drawn(cloud: Running) -> None:
    async with cloud.edge() as edge:
        places = await take(cloud, edge, (0, 100))
        bare = await made(cloud, edge, places)
        boxed = await made(cloud, edge, places, boxes=1)
    differ = []
    for answer in (bare, boxed):
        with av.open(io.BytesIO(answer.content)) as container:
            differ.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    changed = np.abs(differ[0] - differ[1]).max(2) > 40
    assert 200 < changed.sum() < 0.2 * SIZE * SIZE, "lines and a tag, no area"


async def test_without_its_edge_it_is_said(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await take(cloud, edge)
    answer = await cloud.http.get(CLIP, params=when(wait="20s"))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
    assert answer.json()["type"].endswith("edge-unavailable")


async def test_one_at_a_time(cloud: Running) -> None:
    async with cloud.edge() as edge:
        places = await take(cloud, edge)
        assert (await cloud.http.get(CLIP, params=when())).status_code == 202
        other = await cloud.http.get(CLIP, params=when(fps=1))
        assert other.status_code == 503 and other.json()["type"].endswith("clip-busy")
        assert (await made(cloud, edge, places)).status_code == 200
        assert (await cloud.http.get(CLIP, params=when(fps=1, wait="20s"))).status_code == 200


async def test_a_clip_that_nobody_waits_for_is_given_up(cloud: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.clips._FORGOTTEN_SECONDS", 0.0)
    async with cloud.edge() as edge:
        await take(cloud, edge)
        assert (await cloud.http.get(CLIP, params=when())).status_code == 202
        async with asyncio.timeout(20):
            while (await cloud.http.get(CLIP, params=when(fps=1))).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_cameras_of_one_name_are_told_apart(cloud: Running) -> None:
    async with cloud.edge() as one, cloud.edge("edge-2") as other:
        await take(cloud, one, (0,))
        places = await take(cloud, other, (50, 90))
        answer = await cloud.http.get(CLIP, params=when())
        assert answer.status_code == 422 and "several edges" in answer.json()["detail"]
        times, _, _ = played(await made(cloud, other, places, edge="edge-2"))
        assert times == [0, 40]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        (CLIP, {}, 422),
        (CLIP, when(100, 100), 422),
        (CLIP, when() | {"since": "yesterday"}, 422),
        (CLIP, when() | {"since": "2026-01-01T00:00:00"}, 422),
        (CLIP, when(fps=0), 422),
        (CLIP, when(fps="nan"), 422),
        (CLIP, when(fps=61), 422),
        (CLIP, when(wait="soon"), 422),
        (CLIP, when(colour="blue"), 422),
        (CLIP, when() | {"layer": "nonsense"}, 422),
        (CLIP, when() | {"layer": "mask"}, 404),
        (CLIP, when(20_000, 30_000), 404),
        ("/v1/cameras/window/clip", when(), 404),
        ("/v1/cameras/%00/clip", when(), 422),
    ],
)
async def test_what_makes_no_clip(cloud: Running, path: str, params: dict[str, Any], status: int) -> None:
    async with cloud.edge() as edge:
        await take(cloud, edge, (0,))
        answer = await cloud.http.get(path, params={"wait": "20s"} | params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_too_many_frames_are_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.clips.MOST_FRAMES", 5)
    async with start() as cloud, cloud.edge() as edge:
        await take(cloud, edge)
        answer = await cloud.http.get(CLIP, params=when())
        assert answer.status_code == 422 and "more than 5 frames" in answer.json()["detail"]
        assert (await cloud.http.get(CLIP, params=when(fps=4))).status_code == 202


async def test_files_go_with_the_cloud(start: Start) -> None:
    async with start() as cloud:
        folder = cloud.parts.clips._folder
        async with cloud.edge() as edge:
            places = await take(cloud, edge, (0,))
            times, _, lasts = played(await made(cloud, edge, places))
            assert (times, lasts) == ([0], 1000)
        assert len(list(folder.iterdir())) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((640, 480), (640, 480)),
        ((301, 221), (302, 222)),
        ((1, 1), (16, 16)),
        ((3840, 2160), (1920, 1080)),
        ((65500, 100), (4096, 16)),
        ((2160, 3840), (1080, 1920)),
    ],
)
def test_a_film_has_room_for_its_pictures(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert film.size_of(*picture) == size
    if picture[0] * picture[1] < 10_000_000:
        shown, scale = film.fitted(Image.new("RGB", picture), size)
        assert shown.width <= size[0] and shown.height <= size[1]
        assert abs(shown.width / picture[0] - scale) < 1


def test_a_film_ends_before_it_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "MOST_BYTES", 20_000)
    noise = np.random.default_rng(1)
    made_of = Film(tmp_path / "noise.mp4", (160, 120))
    over = time.monotonic() + 60
    with pytest.raises(TooLargeError):
        for ms in range(0, 100_000, 100):
            made_of.add(Image.fromarray(noise.integers(0, 255, (120, 160, 3), dtype=np.uint8)), ms)
            assert time.monotonic() < over
    made_of.end()
