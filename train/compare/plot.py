"""Picture of the variable rate: PSNR over rate, and how much more rate than a model for each rate."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.bd import Curve

COLOURS = ("#7A7A7A", "#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73")
"""Okabe and Ito's."""
PLACES = 60
"""Of a line in the right panel."""


def variable_rate(curves: Mapping[str, Curve], anchor: str, path: Path) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.6, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        style = {"color": colour, "lw": 1.8, "label": name}
        left.plot(curve.rates, curve.qualities, "o-", ms=4, **style)
        quality, more = beside(curve, curves[anchor])
        right.plot(quality, more, **style)
    left.set(xlabel="bits per pixel, estimated")
    left.set_title("PSNR, dB", loc="left", fontsize=10, color="0.3")
    right.set(xlabel="PSNR, dB")
    right.set_title(f"rate beside {anchor}, %; lower is better", loc="left", fontsize=10, color="0.3")
    for axes in (left, right):
        axes.grid(color="0.92", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def beside(curve: Curve, anchor: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Qualities that both reach, and how many per cent more rate than `anchor` the curve needs there."""
    low = max(curve.qualities[0], anchor.qualities[0])
    high = min(curve.qualities[-1], anchor.qualities[-1])
    qualities = np.linspace(low, high, PLACES) if low < high else np.zeros(0)
    rates = [(curve.rate_at(float(q)) or np.nan, anchor.rate_at(float(q)) or np.nan) for q in qualities]
    return qualities, np.array([100 * (one / other - 1) for one, other in rates])
