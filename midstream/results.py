"""`midstream results`: the newest results of a cloud, as a table or as JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from common.errors import MidstreamError

console = Console(highlight=False, soft_wrap=True)
_PAGE = 500


def run(cloud: str, camera: str | None, label: str | None, min_score: float, limit: int, jsonl: bool) -> int:
    """Print the results; exit status 0."""
    wanted = {"camera": camera, "label": label, "min_score": str(min_score)}
    rows = fetch(cloud, {k: v for k, v in wanted.items() if v is not None}, limit)
    if jsonl:
        for row in rows:
            print(json.dumps(row))
        return 0
    table = Table("stored", "camera", "detections", "mode", "quality", "bytes", "of source", "latency", "id")
    for row in rows:
        table.add_row(*line(row, min_score))
    console.print(table if table.row_count else "No results yet. Send a frame: midstream send PHOTO")
    return 0


def fetch(cloud: str, query: dict[str, str], limit: int) -> Iterator[dict[str, Any]]:
    """Results page by page, newest first, at most `limit`. Raises MidstreamError if the cloud says no."""
    params = {**query, "limit": str(min(limit, _PAGE))}
    try:
        with httpx.Client(base_url=cloud, timeout=30) as client:
            while limit > 0:
                page = client.get("/v1/results", params=params)
                if page.is_error:
                    raise MidstreamError(f"{cloud} answered {page.status_code}: {page.text}")
                body = page.json()
                yield from body["results"][:limit]
                limit -= len(body["results"])
                if not body["next"]:
                    return
                params["cursor"] = body["next"]
    except httpx.TransportError as e:
        raise MidstreamError(f"no cloud answers at {cloud} ({e}). Start one: midstream cloud") from e


def line(row: dict[str, Any], min_score: float) -> list[str]:
    """One result as the cells of the table."""
    coded, source = row["bytes"]["coded"], row["bytes"]["source"]
    return [
        row["stored_at"].replace("T", " ")[:23],
        row["camera"],
        describe(row["detections"], min_score),
        row["provenance"],
        str(row["quality"]),
        f"{coded:,}",
        f"{coded / source:.1%}" if source else "",
        f"{sum(row['timing'].values()):.0f} ms",
        row["id"],
    ]


def describe(detections: list[dict[str, Any]], min_score: float = 0.3) -> str:
    """Detections in words: `2 person (.91 .44), dog (.80)`; `–` if none is sure enough."""
    groups: dict[str, list[float]] = {}
    for d in sorted(detections, key=lambda d: -d["score"]):
        if d["score"] >= min_score:
            groups.setdefault(d["label"], []).append(d["score"])
    words = []
    for label, scores in groups.items():
        shown = " ".join(f"{s:.2f}".lstrip("0") for s in scores[:3]) + (" …" if len(scores) > 3 else "")
        words.append(f"{f'{len(scores)} ' if len(scores) > 1 else ''}{label} ({shown})")
    return ", ".join(words) or "–"
