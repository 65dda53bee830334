"""Regions asked for at a real cloud, of frames that a real edge keeps: from the request until the picture is there."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import httpx
import numpy as np

from bench.load import run_cameras
from bench.roi.areas import places
from bench.serve import SIZE, camera_frames, settled
from bench.stand import Stand
from common.bundle import Bundle
from common.errors import MidstreamError
from common.layers import FULL
from common.scalable.regions import Region

FRACTIONS = (0.02, 0.1, 0.4, 1.0)
COUNT = 20
"""Frames for each."""
WARM = 3
"""Frames more, whose times do not count: networks are opened for them."""
WAIT, GIVE_UP = "10s", 60.0
FIRST, NEXT, AGAIN = "first", "next", "again"
"""A region of a frame nobody asked for yet; another one of the same frame, which the edge has coded; that one again."""


@dataclass(frozen=True)
class Served:
    """Regions of one size, asked for in one of three ways; milliseconds from the request to the whole answer."""

    fraction: float
    asked: str
    count: int
    p50_ms: float
    p95_ms: float
    tile_bytes: float
    """Mean, of the tiles that are in the cloud then."""

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def measure(bundle: Bundle, count: int = COUNT) -> list[Served]:
    """Start both services with this bundle, post frames of 640x480, ask for regions of them one after the other."""
    env = {"MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle.path.parent), "MIDSTREAM_CLOUD_BUNDLE": bundle.digest}
    frames, rows = camera_frames(), []
    with (
        tempfile.TemporaryDirectory(prefix="midstream-bench-") as root,
        Stand(Path(root), cloud_env=env) as stand,
        httpx.Client(base_url=stand.cloud.url, timeout=GIVE_UP) as cloud,
    ):
        asked(cloud, posted(stand, frames, WARM), FRACTIONS[-1])
        for fraction in FRACTIONS:
            rows += asked(cloud, posted(stand, frames, count), fraction)
    return rows


def posted(stand: Stand, frames: Sequence[bytes], count: int) -> list[str]:
    """The ids of so many frames, once the results of all of them are stored."""
    cameras = run_cameras(stand.edge.url, frames, 1, count)
    settled(stand, cameras)
    return [sent.id for sent in cameras[0].sent]


def asked(cloud: httpx.Client, ids: Sequence[str], fraction: float) -> list[Served]:
    """Two regions of each frame, and the second one again."""
    taken: dict[str, list[float]] = {FIRST: [], NEXT: [], AGAIN: []}
    sizes: dict[str, list[int]] = {FIRST: [], NEXT: [], AGAIN: []}
    for frame in ids:
        first, *others = places(frame, *SIZE, fraction)
        second = others[0] if others else first
        for what, region in ((FIRST, first), (NEXT, second), (AGAIN, second)):
            taken[what].append(1e3 * seconds(cloud, frame, region))
            sizes[what].append(tile_bytes(cloud, frame))
    return [
        Served(fraction, what, len(times), median(times), float(np.percentile(times, 95)), mean(sizes[what]))
        for what, times in taken.items()
    ]


def seconds(cloud: httpx.Client, frame: str, region: Region) -> float:
    """Until the region's picture is here whole. Raises MidstreamError if it cannot be had."""
    params = {"layer": FULL, "roi": ",".join(map(str, region)), "wait": WAIT, "format": "jpeg"}
    begin = time.perf_counter()
    while time.perf_counter() - begin < GIVE_UP:
        answer = cloud.get(f"/v1/frames/{frame}/image", params=params)
        if answer.status_code == httpx.codes.OK:
            return time.perf_counter() - begin
        if answer.status_code not in (httpx.codes.ACCEPTED, httpx.codes.SERVICE_UNAVAILABLE):
            raise MidstreamError(f"the cloud answered {answer.status_code} for a region: {answer.text[:300]}")
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    raise MidstreamError(f"no region of frame {frame} came within {GIVE_UP:.0f} s")


def tile_bytes(cloud: httpx.Client, frame: str) -> int:
    """Of the layer in tiles, as much as is in the cloud."""
    held = cloud.get(f"/v1/frames/{frame}/layers").raise_for_status().json()["layers"]
    return int(next(layer["bytes"] for layer in held if layer["name"] == FULL))
