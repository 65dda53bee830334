"""Both tables for a person, on the console and in Markdown."""

from collections.abc import Sequence

from rich.console import Console

from bench.rd.report import columns
from bench.roi.areas import Row
from bench.roi.served import AGAIN, FIRST, NEXT, Served

AREAS = (
    "area", "regions", "bytes below", "bytes of tiles", "of all tiles", "largest difference inside",
    "values that differ", "outside", "decode ms",
)  # fmt: skip
SERVED = ("area", "asked for", "frames", "p50 ms", "p95 ms", "bytes of tiles")
ASKED = {
    FIRST: "a frame nobody asked for yet",
    NEXT: "another region of it",
    AGAIN: "that one again",
}


def area_cells(row: Row) -> list[str]:
    """A row's figures, in the order of `AREAS`."""
    sizes = f"{row.base_bytes:,.0f}", f"{row.region_bytes:,.0f}", f"{row.share:.1%}"
    laws = f"{row.inside:.0f}", f"{row.rounded:.2%}", f"{row.outside:.0f}", f"{row.decode_ms:.0f}"
    return [f"{row.area:.1%}", str(row.regions), *sizes, *laws]


def served_cells(row: Served) -> list[str]:
    """A row's figures, in the order of `SERVED`."""
    times = f"{row.p50_ms:.0f}", f"{row.p95_ms:.0f}"
    return [f"{row.fraction:.0%}", ASKED[row.asked], str(row.count), *times, f"{row.tile_bytes:,.0f}"]


def show(areas: Sequence[Row], served: Sequence[Served], console: Console) -> None:
    """Print them."""
    tables = (AREAS, "Regions of pictures", map(area_cells, areas)), (SERVED, "Served", map(served_cells, served))
    for heads, title, lines in tables:
        drawn = columns(heads, title)
        for line in lines:
            drawn.add_row(*line)
        console.print(drawn)
