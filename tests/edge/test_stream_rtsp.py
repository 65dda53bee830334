"""RTSP for real: a server of GStreamer's on loopback, which Debian packages as gir1.2-gst-rtsp-server-1.0."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from edge.streams.address import parse
from edge.streams.reader import Video
from tests.edge import rtsp_server, videos
from tests.edge.conftest import Start
from tests.edge.peer import Peer, until
from tests.edge.test_streams import add, becomes, state

PYTHON = "/usr/bin/python3"
"""The one that has GStreamer's bindings."""
NEEDED = "import gi; gi.require_version('GstRtspServer', '1.0')"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", NEEDED], capture_output=True).returncode:
        pytest.skip("no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.write(tmp_path_factory.mktemp("rtsp") / "clip.mp4", videos.changing(50))


@contextmanager
def serving(clip: Path, port: int = 0, *login: str) -> Iterator[int]:
    """A server that plays the clip to each client; its port."""
    program = str(Path(rtsp_server.__file__))
    with subprocess.Popen([PYTHON, program, str(port), str(clip), *login], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


async def test_a_camera_is_played_and_played_again_when_it_ends(start: Start, peer: Peer, clip: Path) -> None:
    with serving(clip) as port:
        async with start(peer) as edge:
            stream = await add(edge, uri=f"rtsp://127.0.0.1:{port}/live", camera="door")
            now = await becomes(edge, stream, lambda now: now["frames"]["read"] > 60)
            assert now["reconnects"] == 1 and now["last_error"]["message"] == "the source ended the stream"
            assert now["codec"] == "h264" and now["resolution"] == {"width": 160, "height": 120}
            await until(lambda: len(peer.packets) > 40)
    captured = [packet.captured_unix_us for packet in peer.packets]
    assert {packet.camera for packet in peer.packets} == {"door"}
    assert all(a < b for a, b in pairwise(captured))


def test_the_timestamps_are_the_cameras(clip: Path) -> None:
    with serving(clip) as port, Video(parse(f"rtsp://127.0.0.1:{port}/live", None)) as video:
        assert video.stamped and not video.recorded


async def test_a_camera_that_goes_away_is_waited_for(start: Start, peer: Peer, clip: Path) -> None:
    async with start(peer) as edge:
        with serving(clip) as port:
            stream = await add(edge, uri=f"rtsp://127.0.0.1:{port}/live")
            await becomes(edge, stream, lambda now: now["frames"]["read"] > 10)
        now = await becomes(edge, stream, lambda now: now["reason"] == "Connection refused")
        assert now["state"] == "waiting" and now["frames_per_second"]["read"] >= 0
        with serving(clip, port):
            read = (await state(edge, stream))["frames"]["read"]
            now = await becomes(edge, stream, lambda now: now["frames"]["read"] > read + 10)
            assert now["state"] == "running" and now["reason"] == ""


async def test_a_password_is_used_and_not_shown(
    start: Start, peer: Peer, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(clip, 0, "somebody", "geheim") as port:
        async with start(peer) as edge:
            wrong = await add(edge, uri=f"rtsp://somebody:falsch@127.0.0.1:{port}/live", camera="wrong")
            right = await add(edge, uri=f"rtsp://somebody:geheim@127.0.0.1:{port}/live", camera="right", fps=5)
            now = await becomes(edge, wrong, lambda now: now["state"] == "waiting")
            assert "401" in now["reason"]
            now = await becomes(edge, right, lambda now: now["frames"]["sent"] > 5)
            listed = (await edge.http.get("/v1/streams")).text
            assert now["frames"]["skipped_by_rate"] >= 3 * now["frames"]["sent"]
    output = capfd.readouterr()
    for secret in ("geheim", "falsch", "somebody"):
        assert secret not in listed + output.out + output.err
