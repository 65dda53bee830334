"""Streams over HTTP: real servers that are slow, stop, break off, or are not trusted."""

import asyncio
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from edge.streams import player, reader
from edge.streams.address import parse
from tests.edge import videos
from tests.edge.conftest import Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import jpeg
from tests.edge.test_streams import add, becomes, threads


class Camera(BaseHTTPRequestHandler):
    """Multipart JPEG, as cheap cameras send it: so many frames, then silence or the end."""

    frames, pause, silent = 20, 0.02, False
    quiet = threading.Event()
    sent: ClassVar[list[float]] = []
    """When each picture left, Unix seconds."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.frames):
            picture = jpeg(seed=number)
            self.sent.append(time.time())
            with suppress(ConnectionError):  # the edge left
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture))
            time.sleep(self.pause)
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


async def test_no_frame_of_a_slow_camera_was_captured_before_it_was_sent(start: Start, peer: Peer) -> None:
    """Multipart JPEG has no timestamps; FFmpeg's own say 25 a second, and fall behind a camera that is slower."""
    sent: list[float] = []
    with served(type("Handler", (Camera,), {"pause": 0.2, "sent": sent})) as url:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"{url}/video.mjpg", camera="door")
            now = await becomes(edge, stream, lambda now: now["frames"]["read"] >= 16)
            await until(lambda: len(peer.packets) >= 10)
    assert now["broken_timestamps"] == 0
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert all(1e6 * left < at + 1 for left, at in zip(sent, captured, strict=False))  # frames may be left out


@pytest.mark.parametrize(("name", "stamped"), [("clip.ts", True), ("clip.mkv", True), ("clip.h264", False)])
def test_formats_without_timestamps_are_known(tmp_path: Path, name: str, stamped: bool) -> None:
    videos.write(tmp_path / name, videos.changing(5))
    with served(partial(Files, directory=str(tmp_path))) as url, reader.Video(parse(f"{url}/{name}", None)) as video:
        assert video.stamped == stamped


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
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    """Read faster than it was recorded, its frames are ahead of the clock."""
    videos.write(tmp_path / "clip.mkv", videos.changing(60), rate=1)
    with served(partial(Broken, directory=str(tmp_path))) as url:
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
    start: Start, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    _certify(certificate, key)
    videos.write(tmp_path / "clip.ts", videos.changing(10))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with served(partial(Files, directory=str(tmp_path)), context) as url:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"{url.replace('http://127.0.0.1', 'https://localhost')}/clip.ts")
            now = await becomes(edge, stream, lambda now: now["state"] == "waiting")
            assert now["frames"]["read"] == (10 if trusted else 0), now
            assert trusted or "certificate" in now["reason"]


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
