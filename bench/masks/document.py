"""A bundle's section of docs/results-masks.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.masks import plot
from bench.masks.report import HEADS, cells
from bench.masks.rows import Row
from bench.pages import put, slug, table

PAGE = "results-masks.md"


def write(folder: Path, result: dict[str, Any], rows: Sequence[Row], title: str) -> None:
    """Write or replace the section of this bundle, and draw its plot."""
    key = slug(result["bundle"])
    picture = f"results-masks-{key}.png"
    plot.draw(rows, folder / picture, title)
    page = folder / PAGE
    put(page, key, section(title, result, rows, picture))


def section(title: str, result: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """Markdown."""
    parts = [
        f"## {title}",
        f"`{result['measured_by']}`: bundle {result['digest'][:12]}",
        f"![Mean IoU over bytes]({picture})",
        table(HEADS, [cells(row) for row in rows]),
    ]
    return "\n\n".join(parts) + "\n"
