"""A part of a frame through a running edge and a running cloud: only its tiles travel, and no one asks twice."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.stand import Stand
from common.scalable.regions import SEAM
from tests.scalable import tiny
from tests.system.load import post_until_accepted, wait_for_results
from tests.system.test_pixels import pixels, png

X, Y, W, H = 200, 150, 176, 176
"""A tenth of 640x480 pixels."""


def look(stand: Stand, frame: str, **params: Any) -> httpx.Response:
    asked = {"layer": "full", "format": "png", "wait": "20s"} | params
    return httpx.get(f"{stand.cloud.url}/v1/frames/{frame}/image", params=asked, timeout=60)


def fetched(stand: Stand, frame: str) -> dict[str, dict[str, Any]]:
    layers = httpx.get(f"{stand.cloud.url}/v1/frames/{frame}/layers", timeout=60).json()["layers"]
    return {layer["name"]: layer for layer in layers}


def apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_a_region_and_then_the_rest(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "bundles", tiny.FREQUENCY)
    with Stand(tmp_path, cloud_env={"MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle.path.parent)}) as stand:
        picture = tiny.picture(640, 480)
        frame = post_until_accepted(stand.edge.url, png(picture), "door", "k")["id"]
        wait_for_results(stand.cloud.url, 1)
        region = pixels(look(stand, frame, roi=f"{X},{Y},{W},{H}"))
        part = fetched(stand, frame)["full"]
        base = pixels(look(stand, frame, layer="base"))
        people = look(stand, frame, roi="label:person")
        assert people.status_code == 200 and look(stand, frame, roi="label:dog").status_code == 404
        whole = pixels(look(stand, frame))
        assert stand.edge.stop() == 0
        assert np.array_equal(pixels(look(stand, frame, roi=f"{X},{Y},{W},{H}")), region), "nobody is asked again"
        all_of_it = fetched(stand, frame)["full"]
    assert 0 < part["bytes"] < all_of_it["bytes"] / 2 and part["tiles"]["here"] < all_of_it["tiles"]["here"] == 80
    assert (part["here"], all_of_it["here"]) == (False, True)
    inside = np.zeros(base.shape[:2], bool)
    inside[Y : Y + H, X : X + W] = True
    core = slice(Y + SEAM, Y + H - SEAM), slice(X + SEAM, X + W - SEAM)
    assert np.array_equal(region[~inside], base[~inside])
    assert apart(region[core], whole[core]) <= 2 < apart(base[core], whole[core])
    middle = slice(Y + 60, Y + H - 60), slice(X + 60, X + W - 60)
    assert np.array_equal(region[middle], whole[middle]), "as far as the networks look"
