"""PSNR and MS-SSIM over bits per pixel, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.plots import COLOURS
from bench.rd.compare import Curves, by_ms_ssim, by_psnr
from bench.rd.published import Published
from bench.rd.report import titled
from bench.rd.rows import Row

MOST_BPP = 2.0
"""Beyond, nobody could tell the decoded picture from the original."""
OWN = ("#0072B2", "#D55E00", "#CC79A7", "#000000", "#6A3D9A", "#8C510A", "#1B9E77", "#E31A1C", "#7F7F00")
OTHER = {**COLOURS, "x265-444": "#E6C229"}


class Style(NamedTuple):
    """How a codec's line is drawn."""

    colour: str
    width: float
    line: str
    front: int


def draw(rows: Sequence[Row], published: Sequence[Published], path: Path, title: str) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    from matplotlib.figure import Figure

    panels = [
        (by_psnr(rows, published), "PSNR of RGB, dB"),
        (by_ms_ssim(rows, published), "MS-SSIM, dB: -10 log10(1 - MS-SSIM)"),
    ]
    shown = [(curves, label) for curves, label in panels if curves and any(len(c.rates) > 1 for c in curves.values())]
    figure = Figure(figsize=(6.2 * max(1, len(shown)), 5.4), layout="constrained")
    for axes, (curves, label) in zip(figure.subplots(1, max(1, len(shown)), squeeze=False)[0], shown, strict=False):
        _panel(axes, curves, styles(curves, published), label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)


def styles(names: Curves, published: Sequence[Published]) -> dict[str, Style]:
    """Ours bold, the others thin, the published dashed."""
    dashed = {one.name for one in published}
    ours = [name for name in names if name not in OTHER and name not in dashed]
    found = {name: Style(OTHER.get(name, "#555555"), 1.5, "-", 3) for name in names if name in OTHER}
    found |= {name: Style("#333333", 1.5, "--", 4) for name in names if name in dashed}
    return found | {name: Style(OWN[i % len(OWN)], 2.8, "-", 5) for i, name in enumerate(ours)}


def _panel(axes, curves: Curves, style: dict[str, Style], label: str) -> None:
    heights: list[float] = []
    for name, curve in sorted(curves.items(), key=lambda item: -style[item[0]].front):
        if len(curve.rates) < 2:
            continue
        colour, width, line, front = style[name]
        visible = curve.rates <= MOST_BPP
        heights += curve.qualities[visible].tolist()
        axes.plot(
            curve.rates, curve.qualities, "o", ls=line, color=colour, lw=width, ms=1.8 + width, zorder=front,
            markeredgewidth=0, label=titled(name),
        )  # fmt: skip
    margin = 0.04 * (max(heights) - min(heights))
    axes.set(xlim=(0, MOST_BPP), ylim=(min(heights) - margin, max(heights) + margin), xlabel="bits per pixel")
    axes.set_title(label, loc="left", fontsize=10, color="0.3")
    axes.grid(color="0.92", lw=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower right", fontsize=9, frameon=False)
