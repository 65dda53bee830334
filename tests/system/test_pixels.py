"""Layers of a frame through a running edge and a running cloud: base at once, the rest when somebody looks."""

import io
import time
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.stand import Stand
from tests.scalable import tiny
from tests.system.load import post_until_accepted, wait_for_results

PATIENCE = 200


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def look(stand: Stand, frame: str, layer: str) -> httpx.Response:
    """The first answer that is not 202."""
    url = f"{stand.cloud.url}/v1/frames/{frame}/image"
    for _ in range(PATIENCE):
        answer = httpx.get(url, params={"layer": layer, "format": "png"}, timeout=60)
        if answer.status_code != 202:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{layer} did not come")


def pixels(answer: httpx.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_every_layer_of_a_frame(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "bundles", tiny.THREE)
    with Stand(tmp_path, cloud_env={"MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle.path.parent)}) as stand:
        picture = tiny.picture(333, 121)  # odd, and no multiple of anything
        frame = post_until_accepted(stand.edge.url, png(picture), "door", "k")["id"]
        wait_for_results(stand.cloud.url, 1)
        for layer in ("base", "full"):
            shown = pixels(look(stand, frame, layer))
            assert shown.shape == picture.shape
        assert np.abs(shown.astype(int) - picture).mean() < 20
        assert pixels(look(stand, frame, "mask")).shape == picture.shape[:2]
        assert look(stand, frame, "original").content == png(picture)
        along = httpx.post(
            f"{stand.edge.url}/v1/frames",
            params={"pixels": "full", "wait": "20s"},
            content=png(picture),
            headers={"Content-Type": "image/png"},
            timeout=60,
        )
        assert along.status_code == 200, along.text
        assert stand.edge.stop() == 0
        # What came along is here, and so is what was fetched; nothing else can be had without the edge.
        for known in (frame, along.json()["id"]):
            assert np.array_equal(pixels(look(stand, known, "full")), shown)
        assert look(stand, along.json()["id"], "original").status_code == 503
