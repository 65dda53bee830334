"""A comparison for people: tables on the console, a section of docs/results.md, and what --json writes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.accuracy.document import PAGE
from bench.bd import Curve, bd_rate
from bench.pages import put
from bench.pages import table as markdown


class Sheet(NamedTuple):
    """A table."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Of the heads' length: a name, then figures."""


def show(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the tables."""
    for sheet in sheets:
        table = Table(box=SIMPLE, padding=(0, 1), title=sheet.title, title_justify="left")
        for i, head in enumerate(sheet.heads):
            table.add_column(head, justify="right" if i else "left", no_wrap=not i)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def write(folder: Path, key: str, head: Sequence[str], sheets: Sequence[Sheet]) -> None:
    """Write or replace a section of docs/results.md: paragraphs, then the tables."""
    parts = [*head]
    for sheet in sheets:
        parts += [f"**{sheet.title}**", markdown(sheet.heads, sheet.rows)]
    put(folder / PAGE, key, "\n\n".join(parts) + "\n")


def command(name: str, images: int | None) -> str:
    """The command line that measures this again."""
    return f"midstream bench {name}" + (f" --images {images}" if images is not None else "")


def delta(anchor: Curve, other: Curve, ceiling: float = math.inf) -> float | None:
    """Per cent of rate of `other` beside `anchor`; None where the two cannot be compared."""
    found = bd_rate(anchor, other, ceiling)
    return None if found is None else round(found.percent, 2)


def percent(value: float | None) -> str:
    """A delta as text."""
    return "" if value is None else f"{value:+.2f} %"


def number(value: float | None, places: int) -> str:
    """A figure as text, nothing for None."""
    return "" if value is None else f"{value:,.{places}f}"
