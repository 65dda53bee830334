"""The rows for a person: a table on the console and in Markdown."""

from collections.abc import Sequence

from rich.console import Console

from bench.rd.report import columns
from bench.track.study import Row

HEADS = ("codec", "quality", "bytes", "MOTA", "IDF1", "HOTA", "DetA", "AssA", "MOTP", "missed", "wrong", "switches")
TITLES = {"jpeg": "picture, JPEG", "x265": "picture, x265", "av1": "picture, AV1"}


def titled(codec: str) -> str:
    """A codec's name for people: that of the bundle for its own."""
    name, _, rest = codec.partition("/")
    return TITLES.get(name) or (f"{name} ({rest})" if rest else codec)


def cells(row: Row) -> list[str]:
    """A row's figures as text, in the order of `HEADS`."""
    size = "" if row.bytes_per_frame is None else f"{row.bytes_per_frame:,.0f}"
    quality = "" if row.quality is None else str(row.quality)
    scores = (row.mota, row.idf1, row.hota, row.detection, row.association, row.motp)
    errors = (row.missed, row.wrong, row.switches)
    return [titled(row.codec), quality, size, *map(share, scores), *(f"{count:,}" for count in errors)]


def share(value: float) -> str:
    """A share without its zero: .123, -.123."""
    return f"{value:.3f}".replace("0.", ".", 1)


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the table, codec by codec."""
    table = columns(HEADS, title)
    for i, row in enumerate(rows):
        if i and row.codec != rows[i - 1].codec:
            table.add_section()
        table.add_row(*cells(row))
    console.print(table)
