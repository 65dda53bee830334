"""A bundle's section of docs/results-video.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pages import put, slug, table
from bench.video import plot
from bench.video.report import HEADS, cells, standing_cells, standing_heads
from bench.video.rows import Row

PAGE = "results-video.md"


def write(folder: Path, result: dict[str, Any], rows: Sequence[Row], title: str) -> None:
    """Write or replace the section of this bundle, and draw its plot."""
    key = slug(result["bundle"])
    picture = f"results-video-{key}.png"
    plot.draw(rows, folder / picture, title)
    page = folder / PAGE
    put(page, key, section(title, result, rows, picture))


def section(title: str, result: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """Markdown."""
    clips = [[clip["name"], clip["camera"], str(clip["frames"])] for clip in result["clips"]]
    parts = [
        f"## {title}",
        f"`{result['measured_by']}`: bundle {result['digest'][:12]}",
        f"![Agreement over bytes a frame]({picture})",
        table(standing_heads(), [standing_cells(one) for one in result["standings"]]),
        table(("clip", "camera", "frames"), clips),
        table(HEADS, [cells(row) for row in rows]),
    ]
    return "\n\n".join(parts) + "\n"
