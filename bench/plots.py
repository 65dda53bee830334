"""Pictures of what was measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.accuracy.compare import TARGETS, curve_of
from bench.accuracy.report import titled
from bench.accuracy.rows import SPAN, Measured

OURS = "#0072B2"
COLOURS = {
    "lightweight": "#D55E00",
    "mosaic": "#CC79A7",
    "jpeg": "#7A7A7A",
    "webp": "#009E73",
    "x265": "#B8860B",
    "av1": "#56B4E9",
}
"""Okabe and Ito's, told apart with any kind of colour vision; one for each kind of coding."""
GAP = 0.042
"""Between two labels, as a share of the height."""


def accuracy(measured: Sequence[Measured], path: Path, title: str) -> None:
    """Draw bytes (logarithmic) over agreement, a labelled line for each codec, ours bold; write a PNG."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(m.row.codec for m in measured))
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    left, ends = SPAN[0] - 0.03, []
    heights: list[float] = []
    for name in reversed(names):  # ours last, on top
        curve = curve_of(measured, name)
        x, y = curve.qualities, curve.rates
        heights += y[x >= left].tolist()
        colour = OURS if name == names[0] else COLOURS.get(name.partition("/")[0], "#555555")
        style = {"lw": 3.2, "ms": 6.5, "zorder": 5} if name == names[0] else {"lw": 1.5, "ms": 3.5, "zorder": 3}
        line = (0, (4, 2)) if name.endswith("/original") else "-"
        axes.plot(x, y, "o", ls=line, color=colour, markeredgewidth=0, **style)
        if x[-1] >= left:
            ends.append((float(x[-1]), float(y[-1]), titled(name, names[0]), colour))
    axes.set_yscale("log")
    axes.set(xlim=(left, 1.0), ylim=(min(heights, default=1e3) / 1.15, max(heights, default=1e5) * 1.15))
    _dress(axes, title)
    _label(axes, ends)
    figure.savefig(path, dpi=110)


def _dress(axes, title: str) -> None:
    """Scales, grid and words."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    low, high = axes.get_ylim()
    marks = [v for e in range(2, 7) for v in (10**e, 2 * 10**e, 5 * 10**e) if low <= v <= high]
    axes.set_yticks(marks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y", color="0.92", lw=0.8)
    for target in TARGETS:
        axes.axvline(target, color="0.8", lw=0.9, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.set_xlabel("agreement with the uncoded network (AP50)")
    axes.set_title("bytes a photo, lower is better", loc="left", fontsize=10, color="0.3")
    axes.figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)


def _label(axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Each line's name beside its right end, in a column, moved apart where they would overlap."""
    to_axes = axes.transLimits.transform
    ends = sorted(ends, key=lambda end: end[1])
    points = [to_axes((x, np.log10(y))) for x, y, _, _ in ends]
    heights = spread([float(point[1]) for point in points], GAP)
    for (x, y, name, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.02, height),
            textcoords="axes fraction",
            color=colour,
            fontsize=10.5 if colour == OURS else 9,
            fontweight="bold" if colour == OURS else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3, "relpos": (0, 0.5)},
        )


def spread(wanted: list[float], gap: float) -> list[float]:
    """Rising places at least `gap` apart, near the rising places that are wanted."""
    # With the gaps taken out, places only must not fall: neighbours that do share their mean.
    groups: list[tuple[float, int]] = []
    for i, place in enumerate(wanted):
        total, count = place - i * gap, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            before = groups.pop()
            total, count = total + before[0], count + before[1]
        groups.append((total, count))
    level = [total / count for total, count in groups for _ in range(count)]
    return [place + i * gap for i, place in enumerate(level)]
