"""A bundle's section of docs/results-masks.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.accuracy.document import DOCS, replaced, slug, table
from bench.masks import plot
from bench.masks.report import HEADS, cells
from bench.masks.rows import Row
from common.errors import MidstreamError

PAGE = "results-masks.md"


def place() -> Path:
    """The folder of the documentation. Raises MidstreamError where there is no page to write to."""
    if not (DOCS / PAGE).is_file():
        raise MidstreamError(f"--docs writes docs/{PAGE}, which is in the source tree only; try --json and --plot")
    return DOCS


def write(folder: Path, result: dict[str, Any], rows: Sequence[Row], title: str) -> None:
    """Write or replace the section of this bundle, and draw its plot."""
    key = slug(result["bundle"])
    picture = f"results-masks-{key}.png"
    plot.draw(rows, folder / picture, title)
    page = folder / PAGE
    page.write_text(replaced(page.read_text(), key, section(title, result, rows, picture)))


def section(title: str, result: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """Markdown."""
    parts = [
        f"## {title}",
        f"`{result['measured_by']}`: bundle {result['digest'][:12]}",
        f"![Mean IoU over bytes]({picture})",
        table(HEADS, [cells(row) for row in rows]),
    ]
    return "\n\n".join(parts) + "\n"
