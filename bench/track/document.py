"""A dataset's section of docs/results-track.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pages import put, slug, table
from bench.track import plot
from bench.track.report import HEADS, cells, needs_cells, needs_heads
from bench.track.study import Row

PAGE = "results-track.md"


def write(folder: Path, result: dict[str, Any], rows: Sequence[Row], title: str) -> None:
    """Write or replace the section of this dataset, and draw its plot."""
    key = slug(result["dataset"])
    picture = f"results-track-{key}.png"
    plot.draw(rows, folder / picture, title)
    page = folder / PAGE
    put(page, key, section(title, result, rows, picture))


def section(title: str, result: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """Markdown."""
    speed = result["tracker_ms"]
    parts = [
        f"## {title}",
        f"`{result['measured_by']}`: bundles {', '.join(digest[:12] for digest in result['bundles'].values())}",
        f"![HOTA, IDF1 and MOTA over bytes a frame]({picture})",
        "Bytes a frame that reach so much of each score with nothing coded; empty where nothing measured does, or all:",
        table(needs_heads(), needs_cells(result["bytes_at"])),
        table(HEADS, [cells(row) for row in rows]),
        f"The tracker takes {speed['median']:.2f} ms a frame, one time in twenty more than {speed['p95']:.2f}, with "
        f"{speed['objects']} objects and as many faint detections of nothing, on one thread.",
    ]
    return "\n\n".join(parts) + "\n"
