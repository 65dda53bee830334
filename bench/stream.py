"""A video stream through both services at its own pace: whether two cores keep up, and where the time goes.

The edge plays the file again and again, decodes every frame of it and sends so many a second; the cloud stores the
results. Processor time is the processes' own, so that it says what the work costs whatever else runs beside it.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, quantiles
from typing import Any
from urllib.request import Request, urlopen

import psutil
from rich.console import Console
from rich.table import Table

from bench.serve import newest, queued
from bench.settings import data_root
from bench.stand import Service, Stand
from bench.written import check_file, write_json
from common.errors import MidstreamError
from common.types import STAGES

console = Console(highlight=False, soft_wrap=True)
CLIP = Path("clips", "street_traffic_720p.mp4")
CAMERA = "stream"
WARM_S = 5.0
SETTLE_S = 60.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """What was counted until then."""

    at: float
    status: Json
    edge_s: float
    cloud_s: float
    busy_s: float
    """Processor time of everything on this machine."""

    @classmethod
    def now(cls, stand: Stand, stream: str) -> "Moment":
        """Ask both."""
        all_ = psutil.cpu_times()
        busy = sum(all_) - all_.idle - getattr(all_, "iowait", 0.0) - getattr(all_, "guest", 0.0)
        return cls(time.time(), _ask(stand.edge.url, stream), _cpu(stand.edge), _cpu(stand.cloud), busy)


def run(video: Path | None, fps: float, seconds: float, json_path: Path | None) -> Json:
    """Play the video for so long, print a table, write the figures to `json_path`."""
    check_file(json_path)
    source = (video or data_root() / CLIP).resolve()
    if not source.is_file():
        raise MidstreamError(f"there is no file {source}: --video names another")
    files = {"MIDSTREAM_EDGE_STREAMS_DIR": str(source.parent)}
    with tempfile.TemporaryDirectory(prefix="midstream-bench-") as root, Stand(Path(root), files) as stand:
        figures = measured(stand, source.name, fps, seconds)
    if json_path is not None:
        write_json(json_path, figures)
    console.print(table(figures))
    return figures


def measured(stand: Stand, name: str, fps: float, seconds: float) -> Json:
    """The figures of one stream, after a warm-up."""
    wanted = {"uri": f"file:{name}", "camera": CAMERA, "fps": fps, "repeat": True}
    stream = f"/v1/streams/{_post(stand.edge.url, wanted)['id']}"
    time.sleep(WARM_S)
    first = Moment.now(stand, stream)
    time.sleep(seconds)
    last = Moment.now(stand, stream)
    with urlopen(Request(stand.edge.url + stream, method="DELETE"), timeout=30):
        pass
    rows = stored_between(stand, first.at, last.at)
    return {"video": name, "fps": fps, **counted(first, last), **timed(rows, stand)}


def counted(first: Moment, last: Moment) -> Json:
    """Frames and processor time between two moments."""
    seconds = last.at - first.at
    frames = {key: last.status["frames"][key] - first.status["frames"][key] for key in last.status["frames"]}
    edge, cloud = last.edge_s - first.edge_s, last.cloud_s - first.cloud_s
    sent, cores = max(1, frames["sent"]), psutil.cpu_count() or 1
    own = last.status["milliseconds"]
    return {
        "seconds": round(seconds, 1),
        "resolution": last.status["resolution"],
        "frames": frames,
        "slipped_s": round(last.status["slipped_seconds"] - first.status["slipped_seconds"], 3),
        "sent_per_second": round(frames["sent"] / seconds, 2),
        "cores": cores,
        "edge_cores": round(edge / seconds, 3),
        "cloud_cores": round(cloud / seconds, 3),
        "others_cores": round((last.busy_s - first.busy_s - edge - cloud) / seconds, 3),
        "edge_ms": round(1e3 * edge / sent, 2),
        "cloud_ms": round(1e3 * cloud / sent, 2),
        "read_ms": round(own["read"] * frames["read"] / sent, 2),
        "jpeg_ms": own["jpeg"],
    }


def timed(rows: Sequence[Json], stand: Stand) -> Json:
    """Latency, bytes and stages of the results that were stored."""
    latency = [(_instant(row["stored_at"]) - _instant(row["captured_at"])) * 1e3 for row in rows]
    cuts = quantiles(latency, n=100)
    return {
        "results": len(rows),
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "bytes_mean": round(mean(row["bytes"]["coded"] for row in rows)),
        "jpeg_bytes_mean": round(mean(row["bytes"]["source"] for row in rows)),
        "edge_rss_mb": round(stand.edge.rss_mb(), 1),
        "cloud_rss_mb": round(stand.cloud.rss_mb(), 1),
        "stages": {s: round(mean(ms), 3) for s in STAGES if (ms := [r["timing"][s] for r in rows if s in r["timing"]])},
    }


def stored_between(stand: Stand, since: float, until: float) -> list[Json]:
    """The results of all frames captured then, once nothing waits any more."""
    give_up = time.monotonic() + SETTLE_S
    while queued(stand.edge.url) and time.monotonic() < give_up:
        time.sleep(0.1)
    rows = newest(stand.cloud.url, 1 << 30).values()
    found = [row for row in rows if since <= _instant(row["captured_at"]) < until]
    if len(found) < 2:
        raise MidstreamError("no results came; the end of the edge's log:\n" + stand.edge.log_tail())
    return found


def _post(url: str, wanted: Json) -> Json:
    request = Request(f"{url}/v1/streams", json.dumps(wanted).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        body: Json = json.load(answer)
    return body


def _ask(url: str, path: str) -> Json:
    with urlopen(url + path, timeout=30) as answer:
        body: Json = json.load(answer)
    return body


def _cpu(service: Service) -> float:
    assert service.process is not None
    times = psutil.Process(service.process.pid).cpu_times()
    return float(times.user + times.system)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def table(figures: Json) -> Table:
    """The figures for a person."""
    size, frames = figures["resolution"], figures["frames"]
    title = f"{figures['video']}, {size['width']}×{size['height']}, {figures['fps']:g} of its frames a second"
    drawn = Table("", "", title=title, show_header=False, title_justify="left")
    given_up = frames["dropped_for_newer"] + frames["refused"]
    drawn.add_row("frames read / sent / given up", f"{frames['read']:,} / {frames['sent']:,} / {given_up:,}")
    drawn.add_row("results stored", f"{figures['results']:,}")
    drawn.add_row("sent", f"{figures['sent_per_second']:.1f} frames/s, {figures['seconds']:.0f} s long")
    drawn.add_row("slower than the video's own pace", f"by {figures['slipped_s']:.1f} s in all")
    drawn.add_row("captured to stored", f"p50 {figures['p50_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms")
    drawn.add_row("on the wire", f"{figures['bytes_mean']:,} of {figures['jpeg_bytes_mean']:,} bytes a frame")
    drawn.add_row("resident memory", f"edge {figures['edge_rss_mb']:.0f} MB, cloud {figures['cloud_rss_mb']:.0f} MB")
    drawn.add_section()
    drawn.add_row(
        f"processors, of {figures['cores']}",
        f"edge {figures['edge_cores']:.2f}, cloud {figures['cloud_cores']:.2f}, others {figures['others_cores']:.2f}",
    )
    rest = figures["edge_ms"] - figures["read_ms"] - figures["jpeg_ms"]
    for name, ms in (
        ("edge: read and decode", figures["read_ms"]),
        ("edge: JPEG", figures["jpeg_ms"]),
        ("edge: intake, front half, codec, link", rest),
        ("cloud", figures["cloud_ms"]),
    ):
        drawn.add_row(name, f"{ms:.2f} ms of processor a frame")
    drawn.add_section()
    for stage, ms in figures["stages"].items():
        drawn.add_row(stage, f"{ms:.2f} ms by the clock")
    return drawn
