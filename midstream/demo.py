"""`midstream demo`: the whole product on one machine, on real pictures, with everything it does printed."""

import io
import signal
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.settings import MissingDataError, data_root
from bench.stand import Stand
from common.errors import MidstreamError
from common.types import STAGES, Mode
from midstream import frames
from midstream.results import describe
from midstream.send import post

console = Console(highlight=False, soft_wrap=True)
PHOTOS = 24
VIDEO_FRAMES = 24
ORDINARY_JPEG_QUALITY = 75
"""What cameras and web servers use when nobody asked for anything else; Pillow's default too."""
WAIT_S = 20.0
CODING: dict[str, tuple[str, ...]] = {
    Mode.SPLIT: ("decode_picture", "front", "code"),
    Mode.IMAGE: ("decode_picture", "code"),
    Mode.EDGE: ("decode_picture", "front", "back", "nms", "code"),
}
"""The stages that a frame goes through at the edge before it is accepted."""


@dataclass
class Tally:
    """What the demo's frames came to."""

    coded: list[int] = field(default_factory=list)
    jpeg: list[int] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    found: int = 0
    failed: list[str] = field(default_factory=list)


def run(once: bool, frames: str | None) -> int:
    """Run the demo; exit status 0 if every frame got its result."""
    source = choose(frames)
    with tempfile.TemporaryDirectory(prefix="midstream-demo-") as root:
        console.print("starting a cloud and an edge …")
        with Stand(Path(root)) as stand:
            console.print(f"cloud at {stand.cloud.url}, edge at {stand.edge.url}\n")
            tally = send_all(stand, source)
            summary(stand, tally)
            if not once and not tally.failed:
                serve_until_interrupted(stand)
        console.print("both services stopped")
    return 1 if tally.failed or not tally.coded else 0


def choose(path: str | None) -> Iterable[frames.SourceFrame]:
    """The user's frames, else the photos and the clip of the data folder, else those that wheels carry."""
    if path is not None:
        return frames.read(Path(path))
    try:
        data = data_root()
    except MissingDataError:
        return frames.packaged()
    return chain(
        islice(frames.read(data / "images" / "coco_val", "photos"), PHOTOS),
        islice(frames.video(data / "clips" / "street_traffic_720p.mp4", "street", every=5), VIDEO_FRAMES),
    )


def send_all(stand: Stand, source: Iterable[frames.SourceFrame]) -> Tally:
    """Send every frame, print a line for each, return the tally."""
    tally = Tally()
    with (
        httpx.Client(base_url=stand.edge.url, timeout=60) as edge,
        httpx.Client(base_url=stand.cloud.url) as cloud,
    ):
        console.print(
            f"[dim]{'frame':28}{'sent':>8}{'as JPEG':>10}{'took':>9}   detections (score ≥ .30); stages in ms below[/]"
        )
        for frame in source:
            answer = post(edge, frame, wait=WAIT_S)
            if answer.status_code == 200:
                one(frame, result(cloud, answer.json()["id"]), tally)
            else:
                tally.failed.append(f"{frame.name}: the edge answered {answer.status_code}: {answer.text[:200]}")
                console.print(f"[red]{tally.failed[-1]}[/]")
    return tally


def result(cloud: httpx.Client, frame_id: str) -> dict[str, Any]:
    """What the cloud has stored for this frame."""
    answer = cloud.get(f"/v1/results/{frame_id}")
    if answer.status_code != 200:
        raise MidstreamError(f"the cloud answered {answer.status_code} for frame {frame_id}: {answer.text[:200]}")
    body: dict[str, Any] = answer.json()
    return body


def one(frame: frames.SourceFrame, row: dict[str, Any], tally: Tally) -> None:
    """Print one result and count it."""
    took = (_instant(row["stored_at"]) - _instant(row["accepted_at"])) * 1e3
    took += sum(row["timing"].get(s, 0) for s in CODING[row["provenance"]])
    tally.coded.append(row["bytes"]["coded"])
    tally.jpeg.append(jpeg_bytes(frame.data))
    tally.latency.append(took)
    tally.found += sum(d["score"] >= 0.3 for d in row["detections"])
    console.print(
        f"{frame.name[:27]:28}{tally.coded[-1]:>8,}{tally.jpeg[-1]:>10,}{took:>6.0f} ms   "
        f"[bold]{describe(row['detections'])}[/]\n[dim]{'':4}{waterfall(row['timing'], row['provenance'])}[/]"
    )


def waterfall(timing: dict[str, float], mode: str) -> str:
    """The stages in order with their milliseconds, by the side that ran them in this mode, the wire between."""
    here = {*CODING[mode], "spool", "queue", "wire"}
    parts = {
        "edge": [s for s in STAGES if s in here and s != "wire"],
        "": ["wire"],
        "cloud": [s for s in STAGES if s not in here],
    }
    return "  ·  ".join(
        f"{name} " * bool(name) + ", ".join(f"{s} {timing[s]:.1f}" for s in stages if s in timing)
        for name, stages in parts.items()
    )


def _instant(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def jpeg_bytes(data: bytes) -> int:
    """Size of the same picture as an ordinary JPEG: its own size in pixels, Pillow's default quality."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JPEG", quality=ORDINARY_JPEG_QUALITY)
    return buffer.tell()


def summary(stand: Stand, tally: Tally) -> None:
    """What it all came to, and where to look now."""
    if tally.coded:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        sent, as_jpeg = mean(tally.coded), mean(tally.jpeg)
        slow = quantiles(tally.latency, n=20)[-1] if len(tally.latency) > 1 else tally.latency[0]
        table.add_row("frames", f"{len(tally.coded)} with a result, {len(tally.failed)} without")
        table.add_row("objects found", f"{tally.found}")
        table.add_row("sent per frame", f"{sent:,.0f} bytes, everything counted")
        table.add_row(
            "as ordinary JPEG",
            f"{as_jpeg:,.0f} bytes at quality {ORDINARY_JPEG_QUALITY}: {as_jpeg / sent:.1f} times as many",
        )
        table.add_row(
            "frame to result",
            f"{mean(tally.latency):.0f} ms on average, {slow:.0f} ms for the slowest twentieth",
        )
        table.add_row("live page", stand.cloud.url)
        table.add_row("API documentation", f"{stand.cloud.url}/docs (cloud), {stand.edge.url}/docs (edge)")
        console.print()
        console.print(table)
    for line in tally.failed:
        console.print(f"[red]{line}[/]")


def serve_until_interrupted(stand: Stand) -> None:
    """Keep both services up until Ctrl-C or SIGTERM."""
    console.print(
        f"\nstill serving. Send your own:  midstream send PHOTO --edge {stand.edge.url}\n"
        f"ask for results:               midstream results --cloud {stand.cloud.url}\n"
        "Ctrl-C stops both."
    )
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    while not done.wait(0.5):
        for service in (stand.cloud, stand.edge):
            if service.process is None or service.process.poll() is not None:
                raise MidstreamError(f"the {service.command} ended by itself:\n{service.log_tail()}")
