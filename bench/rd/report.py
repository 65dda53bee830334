"""The rows and the deltas for a person: tables on the console and in Markdown."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.rd.compare import LOW_DB, Deltas
from bench.rd.metrics import decibels
from bench.rd.rows import Row

TITLES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "x265": "x265, 4:2:0",
    "x265-444": "x265, 4:4:4",
    "av1": "AV1, 4:2:0",
    "mbt2018-mean": "mbt2018-mean (published)",
}
DELTAS = {
    "bd_rate": "Rate at equal PSNR",
    f"bd_rate_below_{LOW_DB:.0f}_db": f"Rate at equal PSNR, below {LOW_DB:.0f} dB only",
    "bd_rate_ms_ssim": "Rate at equal MS-SSIM",
}
"""Key in --json -> what it says. A row's codec beside each column's, Bjontegaard delta."""
HEADS = ("codec", "quality", "bpp", "PSNR dB", "MS-SSIM", "MS-SSIM dB", "encode ms", "decode ms")


def titled(codec: str) -> str:
    """A codec's name for people."""
    return TITLES.get(codec, codec)


def cells(row: Row) -> list[str]:
    """A row's figures as text, in the order of `HEADS`."""
    similar = ("", "") if row.ms_ssim is None else (f"{row.ms_ssim:.4f}", f"{decibels(row.ms_ssim):.2f}")
    times = f"{row.encode_ms:.1f}", f"{row.decode_ms:.1f}"
    return [titled(row.codec), str(row.quality), f"{row.bpp:.3f}", f"{row.psnr:.2f}", *similar, *times]


def delta_cells(deltas: Deltas) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of deltas; codecs that cannot be compared with any are left out."""
    names = [name for name, found in deltas.items() if found]
    rows = [
        [titled(name), *(f"{deltas[name][other]:+.1f} %" if other in deltas[name] else "" for other in names)]
        for name in names
    ]
    return ["beside", *map(titled, names)], rows


def show(result: dict[str, Any], rows: Sequence[Row], console: Console) -> None:
    """Print the rows, then the deltas."""
    table = columns(HEADS)
    for i, row in enumerate(rows):
        if i and row.codec != rows[i - 1].codec:
            table.add_section()
        table.add_row(*cells(row))
    console.print(table)
    for key, title in DELTAS.items():
        heads, lines = delta_cells(result[key])
        if lines:
            table = columns(heads, title)
            for line in lines:
                table.add_row(*line)
            console.print(table)


def columns(names: Sequence[str], title: str | None = None) -> Table:
    """An empty table, figures to the right."""
    table = Table(box=SIMPLE, padding=(0, 1), title=title, title_justify="left")
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=i == 0)
    return table
