"""Video through both processes: results come in order and once, whoever is killed, and streams begin again."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from skimage import data

from bench.stand import Stand
from tests.edge import videos
from tests.system.load import results


def _street(path: Path) -> None:
    """A second of a walk past a parked motorcycle."""
    from PIL import Image

    photo = Image.fromarray(data.stereo_motorcycle()[0])
    videos.write(path, [photo.crop((i * 8, 0, i * 8 + 320, 240)) for i in range(25)])


def _until(ready: Callable[[], Any], seconds: float = 90) -> Any:
    until = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_a_stream_is_seen_in_the_cloud_and_survives_a_kill(tmp_path: Path) -> None:
    _street(tmp_path / "street.mp4")
    with Stand(tmp_path, {"MIDSTREAM_EDGE_STREAMS_DIR": str(tmp_path)}) as stand:
        wanted = {"uri": "file:street.mp4", "camera": "street", "fps": 5, "repeat": True}
        stream = httpx.post(f"{stand.edge.url}/v1/streams", json=wanted).json()
        before = _until(lambda: len(rows := results(stand.cloud.url)) > 5 and rows)
        stand.edge.kill()
        stand.edge.start()
        _until(lambda: len(results(stand.cloud.url)) > len(before) + 10)
        assert httpx.get(f"{stand.edge.url}/v1/streams/{stream['id']}").json()["state"] == "running"
        assert stand.edge.stop() == 0, "with the stream playing"
        rows = results(stand.cloud.url)
    assert {row["camera"] for row in rows} == {"street"} and len({row["id"] for row in rows}) == len(rows)
    captured = [row["captured_at"] for row in rows]
    assert all(a < b for a, b in pairwise(captured)), "once each, and in order"
    assert any(found["score"] > 0.3 for row in rows for found in row["detections"])
