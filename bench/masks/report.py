"""The rows for a person: a table on the console and in Markdown."""

from collections.abc import Sequence

from rich.console import Console

from bench.masks.labels import CLASSES
from bench.masks.rows import Row
from bench.rd.report import columns

HEADS = ("mask of", "base", "mask", "bytes", "mean IoU", "95 %", *CLASSES, "CamVid", "Penn-Fudan, person")


def cells(row: Row) -> list[str]:
    """A row's figures as text, in the order of `HEADS`."""
    qualities = ["" if quality is None else str(quality) for quality in (row.base_quality, row.mask_quality)]
    size = "" if row.bytes_mean is None else f"{row.bytes_mean:,.0f}"
    overlaps = [*row.iou.values(), row.camvid_mean_iou, row.pennfudan_person_iou]
    return [row.way, *qualities, size, share(row.mean_iou), f"{share(row.low)} to {share(row.high)}"] + [
        share(value) for value in overlaps
    ]


def share(value: float | None) -> str:
    """A share without its zero: .123."""
    return "" if value is None else f"{value:.3f}".removeprefix("0")


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the table, the qualities of the base layer apart."""
    table = columns(HEADS, title)
    for i, row in enumerate(rows):
        if i and row.base_quality != rows[i - 1].base_quality:
            table.add_section()
        table.add_row(*cells(row))
    console.print(table)
