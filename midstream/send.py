"""`midstream send`: post pictures or a video to an edge and print what comes back."""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from common.errors import MidstreamError
from midstream import frames
from midstream.results import describe

console = Console(highlight=False, soft_wrap=True)
PATIENCE_S = 30.0
"""How long an edge may answer 429 or 503 before a frame is given up."""
WAIT_S = 5.0
"""For the result of a picture. Nobody reads those of a video one by one."""


@dataclass
class Tally:
    """What became of a video's frames."""

    taken: int = 0
    refused: int = 0
    coded: int = 0
    source: int = 0
    found: Counter[str] = field(default_factory=Counter)
    """Objects, by label, in the frames whose results were waited for."""
    last_error: str = ""

    def count(self, answer: httpx.Response) -> None:
        """One more frame."""
        body = _body(answer)
        if answer.is_error:
            self.refused += 1
            self.last_error = f"{answer.status_code} {body.get('title', '')}: {body.get('detail', '')}"
            return
        self.taken += 1
        self.coded += body["bytes"]["coded"]
        self.source += body["bytes"]["source"]
        self.found.update(found["label"] for found in body.get("detections", ()) if found["score"] >= 0.3)


def run(
    path: str,
    edge: str,
    camera: str,
    wait: float | None,
    limit: int,
    pixels: bool = False,
    fps: float | None = None,
    realtime: bool = False,
) -> int:
    """Send the frames in order, with their pixels if told to; exit status 1 if the edge refused one."""
    source = Path(path)
    with httpx.Client(base_url=edge, timeout=60) as client:
        if source.is_file() and frames.is_video(source):
            return _send_video(client, source, camera, wait or 0, limit, pixels, fps, realtime)
        return _send_pictures(client, source, camera, WAIT_S if wait is None else wait, limit, pixels)


def _send_pictures(client: httpx.Client, path: Path, camera: str, wait: float, limit: int, pixels: bool) -> int:
    refused = 0
    for frame in islice(frames.read(path, camera), limit):
        answer = post(client, frame, wait, pixels=pixels)
        refused += answer.is_error
        console.print(f"{escape(frame.name):28} {_sentence(answer)}")
    return 1 if refused else 0


def _send_video(
    client: httpx.Client,
    path: Path,
    camera: str,
    wait: float,
    limit: int,
    pixels: bool,
    fps: float | None,
    realtime: bool,
) -> int:
    tally, began = Tally(), time.monotonic()
    expected = frames.length(path, fps)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[fps]:.1f} frames/s"), TimeRemainingColumn())
    with Progress(TextColumn(escape(path.name)), *columns, console=console) as bar:
        task = bar.add_task("", total=min(expected, limit) if expected else None, fps=0.0)
        first = None
        for number, frame in enumerate(islice(frames.video(path, camera, fps=fps), limit), 1):
            first = frame.captured_us if first is None else first
            if realtime and frame.captured_us is not None and first is not None:
                time.sleep(max(0.0, began + (frame.captured_us - first) / 1e6 - time.monotonic()))
            tally.count(post(client, frame, wait, pixels=pixels))
            bar.update(task, completed=number, fps=number / (time.monotonic() - began))
        bar.update(task, total=tally.taken + tally.refused)
    _summary(tally, time.monotonic() - began)
    return 1 if tally.refused or not tally.taken else 0


def _summary(tally: Tally, seconds: float) -> None:
    frames_sent = tally.taken + tally.refused
    line = f"{tally.taken:,} frames taken, {tally.refused:,} refused, {frames_sent / seconds:.1f} frames/s"
    if tally.taken:
        line += f"; {tally.coded / tally.taken:,.0f} of {tally.source / tally.taken:,.0f} bytes a frame"
    console.print(line)
    if tally.found:
        console.print(
            "found: " + ", ".join(f"{count:,} × {escape(label)}" for label, count in tally.found.most_common())
        )
    if tally.last_error:
        console.print(f"[red]the last refusal:[/] {escape(tally.last_error)}")


def post(
    client: httpx.Client, frame: frames.SourceFrame, wait: float = 0, key: str | None = None, pixels: bool = False
) -> httpx.Response:
    """POST one frame, waiting as the edge asks while it is busy. Raises MidstreamError if nobody answers."""
    headers = {"Content-Type": frame.content_type, "X-Camera-Id": frame.camera}
    if frame.captured_us is not None:
        headers["X-Capture-Time"] = f"{frame.captured_us / 1e6:.6f}"
    if key:
        headers["Idempotency-Key"] = key
    params = {"wait": f"{wait:g}s"} if wait else {}
    if pixels:
        params["pixels"] = "full"
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = client.post("/v1/frames", content=frame.data, headers=headers, params=params)
        except httpx.TransportError as e:
            raise MidstreamError(f"no edge answers at {client.base_url} ({e}). Start one: midstream edge") from e
        if answer.status_code not in (429, 503) or time.monotonic() > until:
            return answer
        time.sleep(_retry_after(answer))


def _retry_after(answer: httpx.Response) -> float:
    given = answer.headers.get("Retry-After", "")
    return min(float(given), 5) if given.isdigit() else 1  # a proxy may answer with a date


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as e:
        raise MidstreamError(f"{answer.url} is no Midstream edge: it answered {answer.status_code} without JSON") from e
    return body


def _sentence(answer: httpx.Response) -> str:
    body = _body(answer)
    if answer.is_error:
        return f"[red]{answer.status_code}[/] " + escape(f"{body.get('title', '')}: {body.get('detail', '')}")
    size = f"{body['bytes']['coded']:,} of {body['bytes']['source']:,} bytes"
    if "pixels" in body:
        size += f"  pixels {escape(body['pixels'])}"
    if answer.status_code == 200:
        return f"{size}  {describe(body['detections'])}"
    return f"{size}  accepted as {body['id']}"
