"""A section of docs/results-rd.md for each set of pictures, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pages import put, slug, table
from bench.rd import plot
from bench.rd.published import Published
from bench.rd.report import DELTAS, HEADS, cells, delta_cells
from bench.rd.rows import Row
from bench.rd.timing import timing_rows

PAGE = "results-rd.md"


def write(folder: Path, name: str, result: dict[str, Any], rows: Sequence[Row], published: Sequence[Published]) -> None:
    """Write or replace the section of these pictures, and draw its plot."""
    key, title = slug(name), f"{name}, {len(result['images'])} pictures"
    picture = f"results-rd-{key}.png"
    plot.draw(rows, published, folder / picture, title)
    page = folder / PAGE
    put(page, key, section(title, result, rows, picture))


def section(title: str, result: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """Markdown."""
    commands = dict.fromkeys(result["measured_by"].values())
    parts = [
        f"## {title}",
        "\n".join(f"`{one}`" for one in commands),
        f"![PSNR and MS-SSIM over bits per pixel]({picture})",
    ]
    for key, words in DELTAS.items():
        heads, lines = delta_cells(result[key])
        if lines:
            parts += [f"**{words}**: the row's codec beside the column's.", table(heads, lines)]
    parts.append(table(HEADS, [cells(row) for row in rows]))
    for name, found in result["timing"].items():
        parts += [f"**Times of {name}**, one thread:", table(("what", "figure"), timing_rows(found))]
    return "\n\n".join(parts) + "\n"
