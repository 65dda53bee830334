"""A bundle's section of docs/results-roi.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pages import put, slug, table
from bench.roi import plot
from bench.roi.areas import Row
from bench.roi.report import AREAS, SERVED, area_cells, served_cells
from bench.roi.served import Served

PAGE = "results-roi.md"


def write(folder: Path, result: dict[str, Any], areas: Sequence[Row], served: Sequence[Served], title: str) -> None:
    """Write or replace the section of this bundle and these pictures, and draw its plot."""
    key = slug(title)
    picture = f"results-roi-{key}.png"
    plot.draw(areas, served, folder / picture, title)
    page = folder / PAGE
    put(page, key, section(result, areas, served, title, picture))


def section(result: dict[str, Any], areas: Sequence[Row], served: Sequence[Served], title: str, picture: str) -> str:
    """Markdown."""
    parts = [
        f"## {title}, {len(result['images'])} pictures",
        f"`{result['measured_by']}`: bundle {result['digest'][:12]}",
        f"![Bytes and times over area]({picture})",
        table(AREAS, [area_cells(row) for row in areas]),
    ]
    if served:
        parts += ["**Served**, frames of 640×480:", table(SERVED, [served_cells(row) for row in served])]
    return "\n\n".join(parts) + "\n"
