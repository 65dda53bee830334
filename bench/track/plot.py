"""HOTA, MOTA and IDF1 over bytes: a line for each codec, what nothing coded reaches as the level to come up to.

Lines of codecs that code each frame alone are dashed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plots import COLOURS, OURS
from bench.track.report import SCORES, titled
from bench.track.study import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHERS = ("#CC79A7", "#6A3D9A", "#009E73")
"""Of bundles beyond the first."""


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the picture; a PNG, SVG or PDF by its name."""
    figure(rows, title).savefig(path, dpi=110)


def figure(rows: Sequence[Row], title: str) -> "Figure":
    """The picture."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10.5, 4.4), layout="constrained")
    colours = _colours([row.codec for row in rows if row.bytes_per_frame is not None])
    for axes, (name, shown) in zip(drawn.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for codec, colour in colours.items():
            own = sorted((r.bytes_per_frame or 0, getattr(r, name)) for r in rows if r.codec == codec)
            width, line = 2.6 if colour == OURS else 1.6, "-" if _after(codec) else "--"
            axes.plot(*zip(*own, strict=True), "o", ls=line, color=colour, lw=width, ms=4, label=titled(codec))
        for row in rows:
            if row.bytes_per_frame is None:
                axes.axhline(getattr(row, name), color="0.35", ls=":", lw=1.4, label="nothing coded")
        axes.set(xscale="log", xlabel="bytes a frame")
        axes.set_title(shown, loc="left", fontsize=10, color="0.3")
        axes.grid(color="0.92", lw=0.8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    drawn.legend(
        *drawn.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8, frameon=False
    )
    drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
    return drawn


def _after(codec: str) -> bool:
    """Whether frames are coded after others."""
    return " " in codec.partition("/")[0]


def _colours(codecs: Sequence[str]) -> dict[str, str]:
    """A colour for each rival and for each bundle."""
    names = list(dict.fromkeys(codecs))
    rivals = {name: COLOURS[kind] for name in names if (kind := name.partition("/")[0].partition(" ")[0]) in COLOURS}
    bundles = dict.fromkeys(name.partition("/")[2] for name in names if name not in rivals)
    own = dict(zip(bundles, (OURS, *OTHERS), strict=False))
    return {name: rivals.get(name) or own.get(name.partition("/")[2], "#555555") for name in names}
