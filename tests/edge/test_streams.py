"""Streams played for real: files and what is wrong with them, through an edge to a cloud of plain data."""

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edge.streams import feed, reader
from edge.streams.address import parse
from edge.streams.still import jpeg as jpeg_of
from tests.edge import videos
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import jpeg

Json = dict[str, Any]
NO_ONE = "rtsp://somebody:geheim@127.0.0.1:9/live?token=geheim"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


async def add(edge: Edge, **wanted: Any) -> Json:
    answer = await edge.http.post("/v1/streams", json=wanted)
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    assert answer.headers["location"] == f"/v1/streams/{body['id']}"
    return body


async def state(edge: Edge, stream: Json) -> Json:
    body: Json = (await edge.http.get(f"/v1/streams/{stream['id']}")).json()
    return body


async def becomes(edge: Edge, stream: Json, holds: Callable[[Json], object], seconds: float = 30) -> Json:
    """The stream's status once it is so."""
    until_then, now = time.monotonic() + seconds, await state(edge, stream)
    while not holds(now):
        assert time.monotonic() < until_then, now
        await asyncio.sleep(0.02)
        now = await state(edge, stream)
    return now


def ended(now: Json) -> bool:
    return bool(now["state"] == "ended")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stream ")]


# ---- files


async def test_every_frame_of_a_recording_arrives_in_order(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(30))
    async with start(peer, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4", camera="door", realtime=False)
        now = await becomes(edge, stream, ended)
        await until(lambda: len(peer.packets) == 30)
    assert {packet.camera for packet in peer.packets} == {"door"}
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert [b - a for a, b in pairwise(captured)] == pytest.approx([40_000] * 29, abs=2)
    assert now["frames"]["read"] == 30 and now["frames"]["dropped_for_newer"] == now["frames"]["refused"] == 0
    assert now["resolution"] == {"width": 160, "height": 120} and now["codec"] == "h264"
    assert now["reason"] == "played to its end" and now["reconnects"] == now["broken_timestamps"] == 0


async def test_at_its_own_pace_only_some_frames_are_wanted(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(30))
    async with start(peer, streams_dir=clips) as edge:
        began = time.monotonic()
        now = await becomes(edge, await add(edge, uri="file:clip.mp4", fps=5, speed=2), ended)
        took = time.monotonic() - began
        await until(lambda: len(peer.packets) == now["frames"]["sent"])
    assert took > 0.5 * 29 / 25, "not faster than twice its pace"
    assert now["frames"]["skipped_by_rate"] == 24
    assert now["frames"]["sent"] + now["frames"]["dropped_for_newer"] == 6 and now["frames"]["sent"] > 0


async def test_only_what_moves_is_sent(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", [*videos.still(20), *videos.changing(6)[1:], *videos.still(60)])
    async with start(peer, streams_dir=clips) as edge:
        wanted = {"uri": "file:clip.mp4", "motion": 0.005, "at_least_every_s": 1, "realtime": False}
        now = await becomes(edge, await add(edge, **wanted), ended)
        sent = now["frames"]["read"] - now["frames"]["skipped_by_motion"]
        await until(lambda: len(peer.packets) == sent)
    assert now["frames"]["read"] == 85
    assert sent == 1 + 5 + 1 + 2, "the first, those that move, the still one after them, and one a second"


async def test_a_recording_is_repeated_and_its_time_goes_on(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(5))
    async with start(peer, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4", repeat=True, realtime=False)
        await until(lambda: len(peer.packets) >= 17)
        assert (await state(edge, stream))["state"] == "running"
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert [b - a for a, b in pairwise(captured)] == pytest.approx([40_000] * (len(captured) - 1), abs=2)


async def test_when_there_is_no_time_for_all_the_newest_wins(start: Start, peer: Peer, clips: Path) -> None:
    clip = videos.write(clips / "clip.mp4", videos.changing(200))
    async with start(peer, streams_dir=clips, encode_workers=1) as edge:
        stream = await add(edge, uri="file:clip.mp4", speed=100)
        now = await becomes(edge, stream, ended)
        given_up = now["frames"]["dropped_for_newer"]
        await becomes(edge, stream, lambda now: now["frames"]["sent"] == 200 - given_up)
        await until(lambda: len(peer.packets) == 200 - given_up)
    assert given_up > 0
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert captured == sorted(captured)
    with reader.Video(parse("file:clip.mp4", clip.parent)) as video:
        *_, last = video.frames()
    assert peer.packets[-1].source_bytes == len(jpeg_of(last)), "nothing newer came, so it is there"


async def test_a_size_that_changes_and_times_that_jump_back(start: Start, peer: Peer, clips: Path) -> None:
    small = videos.write(clips / "small.ts", videos.changing(10), begin=500)
    large = videos.write(clips / "large.ts", videos.changing(10, (320, 240)))
    (clips / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    async with start(peer, streams_dir=clips) as edge:
        now = await becomes(edge, await add(edge, uri="file:both.ts", realtime=False), ended)
        await until(lambda: len(peer.packets) == now["frames"]["read"])
    assert now["size_changes"] == 1 and now["resolution"] == {"width": 320, "height": 240}
    assert now["broken_timestamps"] >= 1 and now["frames"]["read"] >= 19
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert all(0 < b - a < 1_000_000 for a, b in pairwise(captured))


async def test_damage_within_a_file_costs_some_frames(start: Start, peer: Peer, clips: Path) -> None:
    data = bytearray(videos.write(clips / "clip.ts", videos.changing(60)).read_bytes())
    for at in range(len(data) // 3, len(data) // 2):
        data[at] ^= 0xA5
    (clips / "clip.ts").write_bytes(data)
    async with start(peer, streams_dir=clips) as edge:
        now = await becomes(edge, await add(edge, uri="file:clip.ts", realtime=False), ended)
    assert 20 < now["frames"]["read"] < 60


# ---- what does not play


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (NO_ONE, "Connection refused"),
        ("http://127.0.0.1:9/x", "Connection refused"),
        ("file:nothing.mp4", "there is no file file:nothing.mp4"),
        ("file:text.mp4", "no video that can be read"),
        ("file:sound.mkv", "it has no video"),
        ("file:list.m3u8", "no video that can be read"),
        ("webcam:99", "No such file or directory"),
    ],
)
async def test_what_cannot_be_played_says_why_and_is_tried_again(
    start: Start, peer: Peer, clips: Path, uri: str, reason: str
) -> None:
    videos.write(clips / "good.mp4", videos.changing(5))
    (clips / "text.mp4").write_text("no video\n" * 1000)
    _sound(clips / "sound.mkv")
    (clips / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n")
    async with start(peer, streams_dir=clips) as edge:
        good = await add(edge, uri="file:good.mp4", camera="good", repeat=True)
        bad = await add(edge, uri=uri, camera="bad")
        now = await becomes(edge, bad, lambda now: now["state"] == "waiting")
        assert reason in now["reason"] and reason in now["last_error"]["message"]
        first = now["last_error"]["at"]
        await becomes(edge, bad, lambda now: now["last_error"]["at"] != first)
        before = (await state(edge, good))["frames"]["sent"]
        await becomes(edge, good, lambda now: now["frames"]["sent"] > before and now["state"] == "running")


def _sound(path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))


async def test_a_file_that_comes_later_is_played(start: Start, peer: Peer, clips: Path) -> None:
    async with start(peer, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4", realtime=False)
        await becomes(edge, stream, lambda now: now["state"] == "waiting")
        videos.write(clips / ".clip.mp4", videos.changing(5)).rename(clips / "clip.mp4")
        await becomes(edge, stream, ended)
        await until(lambda: len(peer.packets) == 5)


async def test_an_edge_that_takes_no_frames_is_said(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(50))
    async with start(peer, streams_dir=clips, spool_max_bytes=1 << 16) as edge:
        await peer.stop()
        live = await add(edge, uri="file:clip.mp4", camera="live", repeat=True, speed=10)
        now = await becomes(edge, live, lambda now: now["frames"]["refused"] > 0)
        assert "spool" in now["last_error"]["message"] and now["state"] == "running"
        await peer.start()
        sent = now["frames"]["sent"]
        await becomes(edge, live, lambda now: now["frames"]["sent"] > sent + 10)


async def test_frames_that_wait_for_room_keep_their_order(
    start: Start, peer: Peer, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAUSE_S", 0.02)
    videos.write(clips / "clip.mp4", videos.changing(30))
    async with start(peer, streams_dir=clips, encode_queue=1) as edge:
        for camera in ("one", "two"):
            await add(edge, uri="file:clip.mp4", camera=camera, realtime=False)
        await until(lambda: len(peer.packets) == 60)
    for camera in ("one", "two"):
        captured = [packet.captured_unix_us for packet in peer.packets if packet.camera == camera]
        assert len(captured) == 30 and captured == sorted(captured)


async def test_frames_that_wait_for_room_are_not_sent_once_their_stream_is_removed(
    start: Start, peer: Peer, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAUSE_S", 0.02)
    videos.write(clips / "clip.mp4", videos.changing(30))
    peer.gate.clear()  # no bundle yet: the edge takes no frames
    async with start(peer, ready=False, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4", camera="gone", realtime=False)
        await becomes(edge, stream, lambda now: now["frames"]["read"] >= 3)
        assert (await edge.http.delete(f"/v1/streams/{stream['id']}")).status_code == 204
        peer.gate.set()
        await until(lambda: edge.parts.codecs.current)
        await asyncio.sleep(10 * feed.PAUSE_S)
        await edge.post(jpeg(), x_camera_id="posted")
        await until(lambda: "posted" in {packet.camera for packet in peer.packets})
    assert {packet.camera for packet in peer.packets} == {"posted"}


async def test_a_recording_has_ended_when_its_last_frame_is_sent(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(2))
    peer.gate.clear()  # no bundle yet: the edge takes no frames
    async with start(peer, ready=False, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4", realtime=False)
        await becomes(edge, stream, lambda now: now["frames"]["read"] == 2)
        await until(lambda: not threads())
        assert (await state(edge, stream))["state"] == "running"
    peer.gate.set()
    async with start(peer, streams_dir=clips) as edge:
        now = await becomes(edge, stream, ended)
        assert now["frames"]["sent"] == 2
        await until(lambda: len(peer.packets) == 2)
    async with start(peer, streams_dir=clips) as edge:
        assert ended(await state(edge, stream))


async def test_passwords_are_shown_to_nobody(
    start: Start, peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with start(peer) as edge:
        stream = await add(edge, uri=NO_ONE)
        await becomes(edge, stream, lambda now: now["state"] == "waiting")
        said = [await edge.http.get("/v1/streams"), await edge.http.get(f"/v1/streams/{stream['id']}")]
        said += [
            await edge.http.post("/v1/streams", json={"uri": uri, "camera": "other", "fps": fps})
            for uri, fps in [(NO_ONE.replace("rtsp", "gopher"), 1), (NO_ONE, -1), (NO_ONE + " ", 1), (NO_ONE * 99, 1)]
        ]
        assert [answer.status_code for answer in said] == [200, 200, 422, 422, 422, 422]
        said += [await edge.http.delete(f"/v1/streams/{stream['id']}")]
    output = capfd.readouterr()
    for text in [*(answer.text for answer in said), caplog.text, output.out, output.err]:
        assert "geheim" not in text and "somebody" not in text
    assert "rtsp://***@127.0.0.1:9/live?***" in said[1].text


# ---- all of them


async def test_streams_begin_again_with_the_edge_and_what_ended_does_not(
    start: Start, peer: Peer, clips: Path, tmp_path: Path
) -> None:
    videos.write(clips / "clip.mp4", videos.changing(5))
    async with start(peer, streams_dir=clips) as edge:
        looping = await add(edge, uri="file:clip.mp4", camera="loop", repeat=True, name="Hall, east")
        over = await add(edge, uri="file:clip.mp4", camera="once", realtime=False)
        gone = await add(edge, uri=NO_ONE, camera="gone")
        await becomes(edge, over, ended)
        await edge.http.delete(f"/v1/streams/{gone['id']}")
    assert threads() == []
    async with start(peer, streams_dir=clips) as edge:
        now = await becomes(edge, looping, lambda now: now["frames"]["sent"] > 0)
        assert now["state"] == "running" and now["name"] == "Hall, east"
        assert ended(await state(edge, over)) and (await state(edge, over))["frames"]["read"] == 0
        listed = (await edge.http.get("/v1/streams")).json()
        assert [stream["id"] for stream in listed["streams"]] == [looping["id"], over["id"]]
    async with start(peer) as edge:  # somebody forgot the folder
        now = await state(edge, looping)
        assert now["state"] == "waiting" and "MIDSTREAM_EDGE_STREAMS_DIR" in now["reason"]
        assert ended(await state(edge, over))
        assert len(json.loads((tmp_path / "edge" / "streams.json").read_text())["streams"]) == 2


async def test_a_recording_that_was_interrupted_begins_anew(start: Start, peer: Peer, clips: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(100))
    async with start(peer, streams_dir=clips) as edge:
        stream = await add(edge, uri="file:clip.mp4")
        await becomes(edge, stream, lambda now: now["frames"]["sent"] > 2)
    async with start(peer, streams_dir=clips) as edge:
        now = await becomes(edge, stream, lambda now: now["frames"]["sent"] > 2)
        assert now["state"] == "running" and now["frames"]["read"] < 100


async def test_what_is_removed_leaves_nothing_behind(start: Start, peer: Peer, clips: Path, tmp_path: Path) -> None:
    videos.write(clips / "clip.mp4", videos.changing(10))
    async with start(peer, streams_dir=clips) as edge:
        for _ in range(3):
            streams = [
                await add(edge, uri="file:clip.mp4", camera="a", repeat=True),
                await add(edge, uri="file:clip.mp4", camera="b", repeat=True, realtime=False),
                await add(edge, uri=NO_ONE, camera="c"),
            ]
            await becomes(edge, streams[1], lambda now: now["frames"]["sent"] > 12)
            assert len(threads()) == 3
            for stream in streams:
                assert (await edge.http.delete(f"/v1/streams/{stream['id']}")).status_code == 204
            assert threads() == []
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("stream ")]
        assert (await edge.http.get("/v1/streams")).json()["streams"] == []
        assert (await edge.http.get(f"/v1/streams/{streams[0]['id']}")).status_code == 404
        assert (await edge.http.delete(f"/v1/streams/{streams[0]['id']}")).status_code == 404
        assert json.loads((tmp_path / "edge" / "streams.json").read_text()) == {"streams": []}


async def test_the_bounds(start: Start, peer: Peer) -> None:
    async with start(peer, max_streams=2) as edge:
        first = await add(edge, uri=NO_ONE)
        taken = await edge.http.post("/v1/streams", json={"uri": NO_ONE})
        assert taken.status_code == 409 and first["id"] in taken.json()["detail"]
        await add(edge, uri=NO_ONE, camera="second")
        many = await edge.http.post("/v1/streams", json={"uri": NO_ONE, "camera": "third"})
        assert many.status_code == 409 and "MIDSTREAM_EDGE_MAX_STREAMS" in many.json()["detail"]


async def test_streams_above_a_lower_bound_are_kept_and_say_so(start: Start, peer: Peer) -> None:
    async with start(peer, max_streams=2) as edge:
        first, second = [await add(edge, uri=NO_ONE, camera=camera) for camera in ("first", "second")]
    with capture_logs() as logs:
        async with start(peer, max_streams=1) as edge:
            now = await state(edge, second)
            assert now["state"] == "waiting" and "MIDSTREAM_EDGE_MAX_STREAMS" in now["reason"]
            assert now["uri"] == first["uri"] and "stream second" not in threads()
            assert (await edge.http.delete(f"/v1/streams/{first['id']}")).status_code == 204
    assert [line["camera"] for line in logs if line["event"] == "a kept stream is not played"] == ["second"]
    async with start(peer, max_streams=1) as edge:
        await becomes(edge, second, lambda now: now["reason"] == "Connection refused")


@pytest.mark.parametrize(
    "wrong",
    [
        {"uri": "file:clip.mp4"},
        {"camera": "a b"},
        {"fps": 0},
        {"fps": "NaN"},
        {"mode": "cloud"},
        {"motion": 2},
        {"motion": "on"},
        {"at_least_every_s": 0},
        {"speed": 2, "realtime": False},
        {"speed": 0},
        {"name": ""},
        {"loop": True},
    ],
)
async def test_a_request_that_makes_no_sense(start: Start, peer: Peer, wrong: Json) -> None:
    async with start(peer) as edge:
        answer = await edge.http.post("/v1/streams", json={"uri": "webcam:99", **wrong})
        assert answer.status_code == 422 and answer.json()["detail"]
        assert (await edge.http.get("/v1/streams")).json()["streams"] == []


async def test_an_edge_without_pyav_says_so(start: Start, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(peer) as edge:
        monkeypatch.setitem(sys.modules, "av", None)
        answer = await edge.http.post("/v1/streams", json={"uri": "webcam:99"})
        assert answer.status_code == 501 and "pip install av" in answer.json()["detail"]


async def test_the_mode_is_the_cameras_operating_point(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await add(edge, uri="webcam:99", camera="door", mode="split")
        points = (await edge.http.get("/v1/operating-point")).json()
        assert points["cameras"]["door"]["chosen"]["mode"] == "split"
        refused = await edge.http.post("/v1/streams", json={"uri": "webcam:98", "camera": "hall", "mode": "edge"})
        assert refused.status_code == 422 and "mode edge" in refused.json()["detail"]
        assert len((await edge.http.get("/v1/streams")).json()["streams"]) == 1
