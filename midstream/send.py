"""`midstream send`: post pictures or a video to an edge and print what comes back."""

import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from common.errors import MidstreamError
from midstream import frames
from midstream.results import describe

console = Console(highlight=False, soft_wrap=True)
PATIENCE_S = 30.0
"""How long an edge may answer 429 or 503 before a frame is given up."""


def run(path: str, edge: str, camera: str, wait: float, limit: int, pixels: bool = False) -> int:
    """Send the frames in order, with their pixels if told to; exit status 1 if the edge refused one."""
    refused = 0
    with httpx.Client(base_url=edge, timeout=60) as client:
        for i, frame in enumerate(frames.read(Path(path), camera)):
            if i >= limit:
                break
            answer = post(client, frame, wait, pixels=pixels)
            refused += answer.is_error
            console.print(f"{escape(frame.name):28} {_sentence(answer)}")
    return 1 if refused else 0


def post(
    client: httpx.Client, frame: frames.SourceFrame, wait: float = 0, key: str | None = None, pixels: bool = False
) -> httpx.Response:
    """POST one frame, waiting as the edge asks while it is busy. Raises MidstreamError if nobody answers."""
    headers = {"Content-Type": frame.content_type, "X-Camera-Id": frame.camera}
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


def _sentence(answer: httpx.Response) -> str:
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as e:
        raise MidstreamError(f"{answer.url} is no Midstream edge: it answered {answer.status_code} without JSON") from e
    if answer.is_error:
        return f"[red]{answer.status_code}[/] " + escape(f"{body.get('title', '')}: {body.get('detail', '')}")
    size = f"{body['bytes']['coded']:,} of {body['bytes']['source']:,} bytes"
    if "pixels" in body:
        size += f"  pixels {escape(body['pixels'])}"
    if answer.status_code == 200:
        return f"{size}  {describe(body['detections'])}"
    return f"{size}  accepted as {body['id']}"
