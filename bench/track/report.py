"""The rows and the bytes that scores need, for a person: tables on the console and in Markdown."""

from collections.abc import Sequence

from rich.console import Console

from bench.bd import Curve
from bench.rd.report import columns
from bench.track.study import UNCODED, Row

HEADS = ("codec", "quality", "bytes", "MOTA", "IDF1", "HOTA", "DetA", "AssA", "MOTP", "missed", "wrong", "switches")
TITLES = {"jpeg": "picture, JPEG", "x265 low delay": "picture, x265", "av1 low delay": "picture, AV1"}
SCORES = {"hota": "HOTA", "idf1": "IDF1", "mota": "MOTA"}
SHARES = (0.90, 0.95)
"""Of the score with nothing coded, where codecs are compared."""
Needs = dict[str, dict[str, dict[str, float | None]]]
"""Codec -> score -> share -> bytes a frame; None where it is not reached, or the coarsest quality is beyond it."""


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


def needs(rows: Sequence[Row]) -> Needs:
    """What each codec needs for `SHARES` of each score that nothing coded reaches."""
    (uncoded,) = (row for row in rows if row.codec == UNCODED)
    found: Needs = {}
    for name in dict.fromkeys(row.codec for row in rows if row.codec != UNCODED):
        found[name] = {score: _needed(rows, name, score, getattr(uncoded, score)) for score in SCORES}
    return found


def _needed(rows: Sequence[Row], codec: str, score: str, whole: float) -> dict[str, float | None]:
    own = [(row.bytes_per_frame, getattr(row, score)) for row in rows if row.codec == codec and row.bytes_per_frame]
    curve = Curve(own) if own and whole > 0 else None
    return {f"{share:g}": curve and curve.rate_at(share * whole) for share in SHARES}


def needs_heads() -> list[str]:
    """Of the table of `needs_cells`."""
    return ["codec", *(f"{shown}, {100 * share:.0f} %" for shown in SCORES.values() for share in SHARES)]


def needs_cells(found: Needs) -> list[list[str]]:
    """A line for each codec."""
    return [[titled(name), *(_size(size) for by in at.values() for size in by.values())] for name, at in found.items()]


def _size(size: float | None) -> str:
    return "" if size is None else f"{size:,.0f}"


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the table, codec by codec."""
    table = columns(HEADS, title)
    for i, row in enumerate(rows):
        if i and row.codec != rows[i - 1].codec:
            table.add_section()
        table.add_row(*cells(row))
    console.print(table)
