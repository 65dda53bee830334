"""Edge and cloud as two services against one process that does the same work: what splitting costs in time.

The monolith decodes the same JPEGs with the same code and runs the same two halves in the same runtime with as
many worker threads as the edge has; it codes nothing, sends nothing and stores nothing. Both have the machine to
themselves; with the services, the simulated cameras take their share of it too.
"""

import io
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import resources
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any
from urllib.request import urlopen

from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.load import Camera, run_cameras
from bench.stand import Stand
from common import bundle as bundles
from common.network.back import Back
from common.network.front import Front
from common.types import STAGES
from edge import picture

console = Console(highlight=False, soft_wrap=True)
CAMERAS = 4
WORKERS = 2
SIZE = (640, 480)
JPEG_QUALITY = 85
PHOTOS = ("astronaut.png", "chelsea.png", "motorcycle_left.png", "motorcycle_right.png", "coffee.png")
RUNS = 3
"""Of each throughput; the median counts."""
LOAD = 0.6
"""Share of the sustained rate at which latency is measured: at the full rate it is the queue's length."""


def run(quick: bool, json_path: Path | None) -> dict[str, Any]:
    """Measure both, print a table, write the figures to `json_path`."""
    frames = camera_frames()
    count = 60 if quick else 300
    with tempfile.TemporaryDirectory(prefix="midstream-bench-") as root, Stand(Path(root)) as stand:
        figures = services(stand, frames, count)
        digest = (stand.edge.data / "bundles" / "current").read_text().strip()
    figures["monolith_fps"] = round(median(monolith(digest, frames, count * CAMERAS) for _ in range(RUNS)), 1)
    figures["ratio"] = round(figures["service_fps"] / figures["monolith_fps"], 3)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(table(figures))
    return figures


def camera_frames() -> list[bytes]:
    """Different 640×480 JPEGs: windows of photos that scikit-image carries."""
    frames = []
    for name in PHOTOS:
        with resources.as_file(resources.files("skimage.data") / name) as path:
            photo = Image.open(path).convert("RGB")
        for zoom in (1.0, 0.8, 0.6, 0.45):
            w, h = photo.width * zoom, photo.width * zoom * SIZE[1] / SIZE[0]
            window = photo.resize(SIZE, box=(0, 0, w, min(h, photo.height)))
            buffer = io.BytesIO()
            window.save(buffer, "JPEG", quality=JPEG_QUALITY)
            frames.append(buffer.getvalue())
    return frames


def services(stand: Stand, frames: Sequence[bytes], count: int) -> dict[str, Any]:
    """Sustained frames/s, then latency and stages at a share of that."""
    settled(stand, run_cameras(stand.edge.url, frames, CAMERAS, 20))  # warm
    fps = median(sustained(stand, frames, count) for _ in range(RUNS))
    rate = LOAD * fps / CAMERAS
    cameras = run_cameras(stand.edge.url, frames, CAMERAS, max(30, min(count, round(20 * rate))), rate)
    rows = settled(stand, cameras)
    latency = [(stored(rows[s.id]) - s.began) * 1e3 for c in cameras for s in c.sent]
    cuts = quantiles(latency, n=100)
    timings = [r["timing"] for r in rows.values()]
    return {
        "service_fps": round(fps, 1),
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "latency_at_fps": round(rate * CAMERAS, 1),
        "edge_rss_mb": round(stand.edge.rss_mb(), 1),
        "cloud_rss_mb": round(stand.cloud.rss_mb(), 1),
        "bytes_mean": round(mean(r["bytes"]["coded"] for r in rows.values())),
        "source_bytes_mean": round(mean(r["bytes"]["source"] for r in rows.values())),
        "stages": {s: round(mean(ms), 3) for s in STAGES if (ms := [t[s] for t in timings if s in t])},
    }


def sustained(stand: Stand, frames: Sequence[bytes], count: int) -> float:
    """Frames/s from the first POST to the last result, every camera sending as fast as the edge takes."""
    cameras = run_cameras(stand.edge.url, frames, CAMERAS, count)
    rows = settled(stand, cameras)
    began = min(s.began for c in cameras for s in c.sent)
    return len(rows) / (max(stored(r) for r in rows.values()) - began)


def settled(stand: Stand, cameras: Sequence[Camera], seconds: float = 120) -> dict[str, dict[str, Any]]:
    """The stored results of everything these cameras sent, by id, once all are there."""
    wanted = {s.id for c in cameras for s in c.sent}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not queued(stand.edge.url):  # asking for the results themselves would take time from what is measured
            rows = newest(stand.cloud.url, len(wanted))
            if wanted <= rows.keys():
                return {i: rows[i] for i in wanted}
        time.sleep(0.1)
    raise RuntimeError(f"not every one of {len(wanted)} frames has a result after {seconds:.0f} s")


def queued(edge: str) -> int:
    """Frames the cloud has not acked yet."""
    with urlopen(f"{edge}/v1/spool", timeout=30) as answer:
        return int(json.load(answer)["frames"]["queued"])


def newest(cloud: str, count: int) -> dict[str, dict[str, Any]]:
    """The newest results, by id."""
    rows: dict[str, dict[str, Any]] = {}
    cursor = ""
    while len(rows) < count:
        with urlopen(f"{cloud}/v1/results?limit=1000{cursor}", timeout=30) as answer:
            page = json.load(answer)
        rows |= {r["id"]: r for r in page["results"]}
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    return rows


def stored(row: dict[str, Any]) -> float:
    """When the result was stored, Unix seconds."""
    return datetime.fromisoformat(row["stored_at"]).timestamp()


def monolith(digest: str, frames: Sequence[bytes], count: int) -> float:
    """Frames/s of one process: the same JPEG decoder, both halves, the same runtime, the edge's worker threads."""
    folder = resources.files("cloud") / "bundles" / digest
    with resources.as_file(folder) as path:
        bundle = bundles.load(path, "both", digest)
        front = Front(bundle)
        back = Back(bundle, 1, 0.05)
        size, pad = bundle.manifest.input.width, bundle.manifest.input.pad

        def one(i: int) -> int:
            data = frames[i % len(frames)]
            header = picture.read_header(data, 50_000_000)
            features = front.run(picture.decode(data, header, size, pad))
            (raw,) = back.run([tensor[None] for tensor in features])
            return len(back.detections(raw, *header.seen))

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(one, range(4 * WORKERS)))  # warm
            began = time.perf_counter()
            list(pool.map(one, range(count)))
            return count / (time.perf_counter() - began)


def table(figures: dict[str, Any]) -> Table:
    """The figures for a person."""
    drawn = Table("", "", title=f"{CAMERAS} cameras, {SIZE[0]}×{SIZE[1]} JPEG", show_header=False, title_justify="left")
    drawn.add_row("edge + cloud, sustained", f"{figures['service_fps']:.1f} frames/s")
    drawn.add_row("one process, same work", f"{figures['monolith_fps']:.1f} frames/s")
    drawn.add_row("ratio", f"{figures['ratio']:.2f}")
    drawn.add_row(
        f"POST to stored, at {figures['latency_at_fps']:.0f} frames/s",
        f"p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms",
    )
    drawn.add_row("on the wire", f"{figures['bytes_mean']:,} of {figures['source_bytes_mean']:,} bytes a frame")
    drawn.add_row("resident memory", f"edge {figures['edge_rss_mb']:.0f} MB, cloud {figures['cloud_rss_mb']:.0f} MB")
    drawn.add_section()
    total = sum(figures["stages"].values())
    for stage, ms in figures["stages"].items():
        drawn.add_row(stage, f"{ms:7.2f} ms  {'█' * round(30 * ms / total)} {ms / total:.0%}")
    return drawn
