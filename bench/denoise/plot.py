"""PSNR to the clean pictures over bits per pixel, a panel for each noise, a row of panels for each set of pictures."""

from collections.abc import Sequence
from pathlib import Path

from bench.bd import Curve
from bench.denoise.cascades import BEFORE, BEHIND
from bench.denoise.compare import BEST, curves, sorted_by_place
from bench.denoise.report import titled
from bench.denoise.rows import Alone, Row
from bench.plots import OURS
from bench.rd.plot import OTHER

LEARNED = "#D55E00"
"""A picture codec of ours in a cascade."""
WIDER = 1.6
"""How much more rate than the joint codec's most is shown."""
BELOW = 2.0
"""How many dB below the joint codec's least are shown."""
MOST_BPP = 1.5
"""Where there is no joint codec."""


def draw(rows: Sequence[Row], alone: Sequence[Alone], ours: str, path: Path) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    from matplotlib.figure import Figure

    places = sorted_by_place(rows)
    sets = list(dict.fromkeys(pictures for pictures, _ in places))
    noises = list(dict.fromkeys(noise for _, noise in places))
    figure = Figure(figsize=(1 + 4.6 * len(noises), 1 + 4.2 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), len(noises), squeeze=False)
    for (pictures, noise), some in places.items():
        axes = grid[sets.index(pictures)][noises.index(noise)]
        limit = next((a.psnr for a in alone if (a.pictures, a.sigma, a.gain) == (pictures, *noise) and _best(a)), None)
        _panel(axes, {name: c for name, c in curves(some, ours).items() if name != BEST}, ours, limit)
        axes.set_title(f"{pictures}, {noise.title}", loc="left", fontsize=10, color="0.3")
    for axes in grid[:, 0]:
        axes.set_ylabel("PSNR to the clean picture, dB")
    lines = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    figure.savefig(path, dpi=110)


def _best(alone: Alone) -> bool:
    return alone.denoiser == "opponent"


def _panel(axes, lines: dict[str, Curve], ours: str, limit: float | None) -> None:
    most = WIDER * lines[ours].rates[-1] if ours in lines else MOST_BPP
    heights: list[float] = []
    for name, curve in sorted(lines.items(), key=lambda item: item[0] == ours):
        colour, width, line = style(name, ours)
        heights += curve.qualities[curve.rates <= most].tolist()
        axes.plot(
            curve.rates, curve.qualities, "o", ls=line, color=colour, lw=width, ms=1.8 + width,
            markeredgewidth=0, label=titled(name), zorder=5 if name == ours else 3,
        )  # fmt: skip
    if limit is not None:
        heights.append(limit)
        axes.axhline(limit, color="0.6", lw=1, ls=":", label="DnCNN, nothing coded")
    low = max(min(heights), lines[ours].qualities[0] - BELOW) if ours in lines else min(heights)
    margin = 0.05 * (max(heights) - low) or 1.0
    axes.set(xlim=(0, most), ylim=(low - margin, max(heights) + margin), xlabel="bits per pixel")
    axes.grid(color="0.92", lw=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def style(name: str, ours: str) -> tuple[str, float, str]:
    """Colour, width and dashes of a line: ours bold; a denoiser before the codec drawn through, behind it dashed."""
    if name == ours:
        return OURS, 3.2, "-"
    codec = name.removeprefix(BEFORE).removesuffix(BEHIND)
    return OTHER.get(codec, LEARNED), 1.5, "-" if name.startswith(BEFORE) else (0, (4, 2))
