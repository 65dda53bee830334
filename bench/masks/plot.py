"""Mean overlap over bytes: a line for each quality of the base layer, from the base layer alone to the finest mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.masks.coding import BASE, BOTH
from bench.masks.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#6A3D9A")


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    figure(rows, title).savefig(path, dpi=110)


def figure(rows: Sequence[Row], title: str) -> "Figure":
    """The picture."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.6, 5.0), layout="constrained")
    axes = drawn.subplots()
    qualities = sorted({row.base_quality for row in rows if row.base_quality is not None})
    for i, quality in enumerate(qualities):
        _line(axes, [row for row in rows if row.base_quality == quality], COLOURS[i % len(COLOURS)])
    for row in rows:
        if row.bytes_mean is None:
            axes.axhline(row.mean_iou, color="0.35", ls="--", lw=1.3, label=row.way)
    axes.set(xlim=(0, None), xlabel="bytes a photo, all layers that the mask needs")
    axes.set_title("mean IoU of background, person and vehicle", loc="left", fontsize=10, color="0.3")
    axes.grid(color="0.92", lw=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
    return drawn


def _line(axes, rows: Sequence[Row], colour: str) -> None:
    """One quality of the base layer: a line that begins at an open ring, where it is alone."""
    ordered = [row for way in (BASE, BOTH) for row in rows if row.way == way]
    x, y = [row.bytes_mean for row in ordered], [row.mean_iou for row in ordered]
    axes.fill_between(x, [row.low for row in ordered], [row.high for row in ordered], color=colour, alpha=0.08, lw=0)
    axes.plot(x, y, "o-", color=colour, lw=2, ms=4.5, zorder=4, label=f"base {rows[0].base_quality}, then + mask")
    alone = [row for row in ordered if row.way == BASE]
    ring = {"mfc": "white", "mec": colour, "mew": 1.6, "ms": 7, "zorder": 5}
    axes.plot([row.bytes_mean for row in alone], [row.mean_iou for row in alone], "o", **ring)
