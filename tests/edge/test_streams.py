"""Streams played for real: files, HTTP and what is wrong with them, through an edge to a cloud of plain data."""

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.streams import player, reader
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
        await until(lambda: len(peer.packets) == 6)
    assert took > 0.5 * 29 / 25, "not faster than twice its pace"
    assert now["frames"]["skipped_by_rate"] == 24


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


# ---- HTTP


class Camera(BaseHTTPRequestHandler):
    """Multipart JPEG, as cheap cameras send it: so many frames, then silence or the end."""

    frames, silent = 20, False
    quiet = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.frames):
            picture = jpeg(seed=number)
            with suppress(ConnectionError):  # the edge left
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture))
            time.sleep(0.02)
        if self.silent:
            self.quiet.set()
            time.sleep(3)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler], secure: ssl.SSLContext | None = None) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if secure is not None:
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_stream_that_stops_is_opened_again(
    start: Start, peer: Peer, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(reader, "READ_S", 0.5)
    handler = type("Handler", (Camera,), {"silent": silent})
    with served(handler) as url:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"{url}/video.mjpg", camera="door")
            now = await becomes(edge, stream, lambda now: now["reconnects"] and now["frames"]["read"] > 20)
            expected = "nothing came for 0.5 s" if silent else "Input/output error"
            assert expected in now["last_error"]["message"]
            await until(lambda: len(peer.packets) > 20)
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert all(a < b for a, b in pairwise(captured))


async def test_a_clock_that_is_set_back_stops_no_time(
    start: Start, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, thread_time=time.thread_time)
    monkeypatch.setattr(player, "time", clock)
    with served(type("Handler", (Camera,), {"frames": 1000})) as url:
        async with start(peer) as edge:
            await add(edge, uri=f"{url}/video.mjpg", camera="door", fps=10)
            await until(lambda: len(peer.packets) >= 5)
            clock.time = lambda: time.time() - 3600
            await until(lambda: len(peer.packets) >= 12, 60)
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert min(after - before for before, after in pairwise(captured)) > 50_000


class Files(SimpleHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, *arguments: object) -> None:
        pass


class Broken(Files):
    """Of each file only the greater part."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(content[: len(content) * 3 // 4])


async def test_a_recording_that_breaks_off_begins_anew_and_its_time_goes_on(
    start: Start, peer: Peer, clips: Path
) -> None:
    """Read faster than it was recorded, its frames are ahead of the clock."""
    videos.write(clips / "clip.mkv", videos.changing(60), rate=1)
    with served(partial(Broken, directory=str(clips))) as url:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"{url}/clip.mkv", camera="door", realtime=False)
            await becomes(edge, stream, lambda now: now["reconnects"] >= 2, 60)
            await until(lambda: len(peer.packets) > 100)
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert all(a < b for a, b in pairwise(captured))


def _certify(certificate: Path, key: Path) -> None:
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*new.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)


@pytest.mark.parametrize("trusted", [False, True])
async def test_https_needs_a_certificate_that_is_trusted(
    start: Start, peer: Peer, clips: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    certificate, key = clips / "certificate.pem", clips / "key.pem"
    _certify(certificate, key)
    videos.write(clips / "clip.ts", videos.changing(10))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with served(partial(Files, directory=str(clips)), context) as url:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"{url.replace('http://127.0.0.1', 'https://localhost')}/clip.ts")
            now = await becomes(edge, stream, lambda now: now["state"] == "waiting")
            assert now["frames"]["read"] == (10 if trusted else 0), now
            assert trusted or "certificate" in now["reason"]


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


async def test_a_thread_that_waits_for_a_silent_source_ends_in_time(
    start: Start, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READ_S", 3.0)
    monkeypatch.setattr("edge.streams.streams.LEAVE_S", 0.1)
    quiet = threading.Event()
    handler = type("Handler", (Camera,), {"silent": True, "quiet": quiet})
    with served(handler) as url:
        async with start(peer, max_streams=1) as edge:
            for camera in ("one", "two"):
                quiet.clear()
                stream = await add(edge, uri=f"{url}/video.mjpg", camera=camera)
                await until(quiet.is_set)
                await becomes(edge, stream, lambda now: now["frames"]["read"] >= 19)
                await asyncio.sleep(0.2)  # the last frame, too, is there
                assert (await edge.http.delete(f"/v1/streams/{stream['id']}")).status_code == 204
            answer = await edge.http.post("/v1/streams", json={"uri": f"{url}/video.mjpg"})
            assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
            await until(lambda: not threads())
            await add(edge, uri=f"{url}/video.mjpg")


async def test_the_bounds(start: Start, peer: Peer) -> None:
    async with start(peer, max_streams=2) as edge:
        first = await add(edge, uri=NO_ONE)
        taken = await edge.http.post("/v1/streams", json={"uri": NO_ONE})
        assert taken.status_code == 409 and first["id"] in taken.json()["detail"]
        await add(edge, uri=NO_ONE, camera="second")
        many = await edge.http.post("/v1/streams", json={"uri": NO_ONE, "camera": "third"})
        assert many.status_code == 409 and "MIDSTREAM_EDGE_MAX_STREAMS" in many.json()["detail"]


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
