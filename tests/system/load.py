"""A camera that does not give up: posts frames until each is accepted, and asks what became of them."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw


def pictures(count: int, size: tuple[int, int] = (160, 120)) -> Iterator[bytes]:
    """Small JPEGs, each different."""
    for i in range(count):
        image = Image.new("RGB", size, (40 + i % 200, 90, 160))
        ImageDraw.Draw(image).rectangle((i % 100, 20, i % 100 + 40, 90), fill=(220, 200 - i % 100, 30))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        yield buffer.getvalue()


def post(url: str, data: bytes, camera: str, key: str, wait: str | None = None) -> httpx.Response | None:
    """One attempt; None if nobody answered or the edge is busy."""
    headers = {"Content-Type": "image/jpeg", "X-Camera-Id": camera, "Idempotency-Key": key}
    try:
        answer = httpx.post(
            f"{url}/v1/frames", content=data, headers=headers, params={"wait": wait} if wait else {}, timeout=30
        )
    except httpx.TransportError:
        return None
    return None if answer.status_code in (429, 503) else answer


def post_until_accepted(url: str, data: bytes, camera: str, key: str, seconds: float = 90) -> dict[str, Any]:
    """The edge's answer, however often it has to be asked."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = post(url, data, camera, key)
        if answer is not None:
            assert answer.status_code in (200, 202), answer.text
            body: dict[str, Any] = answer.json()
            return body
        time.sleep(0.05)
    raise AssertionError(f"frame {key} was not accepted in {seconds} s")


def results(url: str) -> list[dict[str, Any]]:
    """Every result the cloud holds, in the order it stored them."""
    rows: list[dict[str, Any]] = []
    params = {"order": "asc", "limit": "500"}
    while True:
        page = httpx.get(f"{url}/v1/results", params=params, timeout=30).json()
        rows += page["results"]
        if not page["next"]:
            return rows
        params["cursor"] = page["next"]


def wait_for_results(url: str, count: int, seconds: float = 120) -> list[dict[str, Any]]:
    """Results once there are `count` of them, or as many as came in time."""
    until = time.monotonic() + seconds
    rows: list[dict[str, Any]] = []
    while time.monotonic() < until:
        try:
            rows = results(url)
        except httpx.TransportError:
            rows = []
        if len(rows) >= count:
            break
        time.sleep(0.2)
    return rows


def photo(name: str = "astronaut.png") -> bytes:
    """A photo that scikit-image carries, as JPEG."""
    import skimage

    buffer = io.BytesIO()
    Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
