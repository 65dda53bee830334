"""`midstream send` with a real edge: a video frame by frame, with what can go wrong on the way."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stand import Service
from tests.cli.test_cli import midstream
from tests.edge import tiny, videos
from tests.edge.pictures import jpeg


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An edge with a bundle and no cloud: frames wait in its spool."""
    root = tmp_path_factory.mktemp("send")
    service = Service("edge", root, {"MIDSTREAM_EDGE_BUNDLE": str(tiny.write(root).path)}, ("http",))
    try:
        yield service.start()
    finally:
        service.stop()


def taken(edge: Service) -> int:
    with urllib.request.urlopen(f"{edge.url}/v1/spool", timeout=10) as answer:
        return int(json.load(answer)["frames"]["queued"])


def send(edge: Service, path: Path, *options: str) -> tuple[int, str]:
    answer = midstream("send", str(path), "--edge", edge.url, *options)
    assert "Traceback" not in answer.stderr, answer.stderr
    return answer.returncode, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("options", "frames"), [((), 20), (("--fps", "5"), 4), (("--limit", "3"), 3), (("--fps", "5", "--realtime"), 4)]
)
def test_a_video_is_sent_frame_by_frame(edge: Service, tmp_path: Path, options: tuple[str, ...], frames: int) -> None:
    before = taken(edge)
    code, said = send(edge, videos.write(tmp_path / "clip.mp4", videos.changing(20)), "--camera", "door", *options)
    assert code == 0, said
    assert f"{frames} frames taken, 0 refused" in said and "bytes a frame" in said
    assert taken(edge) == before + frames


def test_pictures_and_videos_of_a_folder(edge: Service, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    videos.write(tmp_path / "b.mp4", videos.changing(3))
    before = taken(edge)
    code, said = send(edge, tmp_path, "--wait", "0")
    assert code == 0 and "a.jpg" in said and "b.mp4#2" in said
    assert taken(edge) == before + 4


def test_what_is_no_video_is_said(edge: Service, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    code, said = send(edge, tmp_path / "clip.mp4")
    assert code == 2 and "clip.mp4 cannot be played: what comes is no video" in said


def test_nobody_there(tmp_path: Path) -> None:
    clip = videos.write(tmp_path / "clip.mp4", videos.changing(2))
    answer = midstream("send", str(clip), "--edge", "http://127.0.0.1:9")
    assert answer.returncode == 2 and "midstream edge" in answer.stderr
