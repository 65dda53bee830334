"""Agreement over bytes a frame: a panel for each kind of camera, a line for each codec."""

from collections.abc import Sequence
from pathlib import Path

from bench.video.report import curve
from bench.video.rows import Row

COLOURS = ("#56B4E9", "#D55E00", "#CC79A7", "#8C510A", "#7F7F7F", "#009E73", "#0072B2")


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    from matplotlib.figure import Figure

    cameras = list(dict.fromkeys(row.camera for row in rows))
    figure = Figure(figsize=(6.2 * len(cameras), 5.0), layout="constrained")
    for axes, camera in zip(figure.subplots(1, len(cameras), squeeze=False)[0], cameras, strict=True):
        names = dict.fromkeys(row.codec for row in rows if row.camera == camera)
        for i, name in enumerate(names):
            line = curve(rows, name, camera)
            axes.plot(line.rates, line.qualities, "o-", ms=3, lw=1.8, color=COLOURS[i % len(COLOURS)], label=name)
        axes.set(xlabel="bytes a frame", ylabel="agreement (AP50 with the uncoded network)", xscale="log")
        axes.set_ylim(0.6, 1.0)
        axes.set_title(f"{camera} camera", loc="left", fontsize=10, color="0.3")
        axes.grid(color="0.92", lw=0.8, which="both")
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)
