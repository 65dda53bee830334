"""Bytes, and the time until a region is here, over the share of the picture that it covers."""

from collections.abc import Sequence
from pathlib import Path

from bench.plots import OURS
from bench.roi.areas import Row
from bench.roi.report import ASKED
from bench.roi.served import Served

COLOURS = (OURS, "#D55E00", "#7A7A7A")


def draw(areas: Sequence[Row], served: Sequence[Served], path: Path, title: str) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2 * (1 + bool(served)), 4.6), layout="constrained")
    panels = figure.subplots(1, 1 + bool(served), squeeze=False)[0]
    _bytes(panels[0], areas)
    for axes in panels[1:]:
        _times(axes, served)
    for axes in panels:
        axes.set(xlim=(0, 102), ylim=(0, None), xlabel="percent of the picture's area")
        axes.grid(color="0.92", lw=0.8)
        axes.legend(fontsize=9, frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)


def _bytes(axes, rows: Sequence[Row]) -> None:
    areas = [100 * row.area for row in rows]
    below = [row.base_bytes / 1000 for row in rows]
    every = [(row.base_bytes + row.region_bytes) / 1000 for row in rows]
    axes.plot(areas, every, "o-", color=OURS, lw=2.4, ms=5, label="base picture and the region's tiles")
    axes.plot(areas, below, color="0.5", lw=1.2, ls="--", label="base picture alone")
    axes.set_title("kilobytes a picture", loc="left", fontsize=10, color="0.3")


def _times(axes, rows: Sequence[Served]) -> None:
    for (what, words), colour in zip(ASKED.items(), COLOURS, strict=True):
        some = [row for row in rows if row.asked == what]
        axes.plot([100 * row.fraction for row in some], [row.p50_ms for row in some], "o-", color=colour, label=words)
    axes.set_title("milliseconds from the request to the picture, p50", loc="left", fontsize=10, color="0.3")
