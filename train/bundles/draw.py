"""The cuts of a network as a picture: what the edge computes against what the link carries."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.bundles.cuts import Row

OURS, OTHERS = "#0072B2", "#B0B0B0"


def draw(name: str, rows: Sequence["Row"], path: Path) -> None:
    """Write a PNG: a dot for each cut, those that none beats named, with their agreement if measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    axes = figure.subplots()
    measured = any(row.bytes is not None for row in rows)
    shown = [row for row in rows if row.bytes is not None or not measured]
    best = [row for row in shown if row.pareto]
    others = [row for row in shown if not row.pareto]
    axes.plot(*_places(others), "o", ms=5, color=OTHERS, markeredgewidth=0, zorder=2)
    axes.plot(*_places(best), "o", ms=8, color=OURS, markeredgewidth=0, zorder=3)
    for row in best:
        ((x,), (y,)) = _places([row])
        agrees = "" if row.agreement is None else f"\nagreement {row.agreement:.2f}"
        said = f"{row.name}  {'×'.join(map(str, row.shape))}{agrees}"
        axes.annotate(said, (x, y), (8, 0), textcoords="offset points", fontsize=8, color=OURS, va="center")
    _dress(
        axes, f"Where to cut {name}", "bytes a picture at the default quality" if measured else "elements that travel"
    )
    figure.savefig(path, dpi=110)


def _places(rows: Sequence["Row"]) -> tuple[list[float], list[float]]:
    """Shares in percent, and bytes or elements."""
    return [100 * row.share for row in rows], [row.elements if row.bytes is None else row.bytes for row in rows]


def _dress(axes: Any, title: str, carried: str) -> None:
    """Scales, words, room for the labels."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.15, high * 1.25)
    marks = [v * 10**e for e in range(1, 9) for v in (1, 2, 3, 5, 7) if low / 1.15 <= v * 10**e <= high * 1.25]
    axes.set_yticks(marks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    left, right = axes.get_xlim()
    axes.set_xlim(max(0.0, left), right + 0.18 * (right - left))
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("multiply-adds on the edge, % of the network")
    axes.set_ylabel(carried)
    axes.grid(color="#E6E6E6", lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
