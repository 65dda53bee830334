"""One picture layer for every rate: what each part of it is worth, and how it stands beside one model for each rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from bench.accuracy.document import PAGE
from bench.bd import Curve
from bench.pages import place
from bench.rd.compare import LOW_DB
from bench.written import PLOTS, check_file, write_json
from train.compare import plot, runs
from train.compare.coded import Coder, Point, alone, curve, curved, kodak
from train.compare.report import Sheet, command, delta, number, percent, show, write
from train.pixels import LAMBDAS
from train.recipes.rates import CHOSEN

KEY = "variable-rate"
PICTURE = f"results-{KEY}.png"
SEPARATE = "a model for each rate"


class Variant(NamedTuple):
    """One model with some parts of variable rate."""

    name: str
    recipe: str
    part: str
    """A folder inside the recipe's."""
    offsets: bool
    hyper: bool

    def coder(self, folder: Path) -> Coder:
        """It as trained."""
        return alone(runs.picture_layer(folder, self.recipe, self.part, offsets=self.offsets, hyper=self.hyper))


VARIANTS = (
    Variant("step alone", "picture", "", False, False),
    Variant("+ offsets", "ablation", "offsets", True, False),
    Variant("+ hyper-latent's step", "ablation", "step", True, True),
    Variant("+ several objectives", "variable", "", True, True),
)
"""Each adds to the one before it; the last one is what ships."""
Curves = Mapping[str, Sequence[Point]]


def run(
    folder: Path, images: int | None = None, threads: int | None = None, json_path: Path | None = None,
    plot_path: Path | None = None, docs: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure the checkpoints in `folder` on Kodak, print, write what is asked for, return what --json writes.

    Raises MidstreamError naming the recipe of a checkpoint that is not there, before anything is measured.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    docs_folder = place(PAGE) if docs else None
    if threads:
        torch.set_num_threads(threads)
    console = Console(highlight=False)
    separate = {weight: alone(runs.picture_layer(folder, "rates", f"{weight:g}", offsets=False, hyper=False))
                for weight in CHOSEN}  # fmt: skip
    coders = {variant.name: variant.coder(folder) for variant in VARIANTS}
    seen = kodak(images)
    points = {SEPARATE: [curve(coder, seen, [weight], SEPARATE, console)[0] for weight, coder in separate.items()]}
    points |= {name: curve(coder, seen, LAMBDAS, name, console) for name, coder in coders.items()}
    result = concluded(points) | {"pictures": len(seen), "measured_by": command(KEY, images)}
    show(sheets(result), console)
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plot.variable_rate(curves(points), SEPARATE, plot_path)
    if docs_folder is not None:
        plot.variable_rate(curves(points), SEPARATE, docs_folder / PICTURE)
        write(docs_folder, KEY, head(result), sheets(result))
    return result


def curves(points: Curves) -> dict[str, Curve]:
    """By name."""
    return {name: curved(each) for name, each in points.items()}


def concluded(points: Curves) -> dict[str, Any]:
    """Every point, and each model's deltas beside the separate ones."""
    found = curves(points)
    weights = {name: CHOSEN if name == SEPARATE else LAMBDAS for name in points}
    rows = [
        {"model": name, "lambda": weight, "bpp": round(point.rate, 5), "psnr": round(point.quality, 4)}
        for name, each in points.items()
        for weight, point in zip(weights[name], each, strict=True)
    ]
    anchor = found[SEPARATE]
    deltas = {
        name: {"overall": delta(anchor, each), "below": delta(anchor, each, LOW_DB)}
        for name, each in found.items()
        if name != SEPARATE
    }
    return {"rows": rows, "bd_rate": deltas, "below_db": LOW_DB}


def sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """The deltas, then the points."""
    deltas = [[name, percent(each["overall"]), percent(each["below"])] for name, each in result["bd_rate"].items()]
    heads = ["one model", "overall", f"below {result['below_db']:.0f} dB"]
    rows = [[r["model"], f"{r['lambda']:g}", number(r["bpp"], 4), number(r["psnr"], 2)] for r in result["rows"]]
    return [
        Sheet("Rate at equal PSNR beside a model for each rate", heads, deltas),
        Sheet("Points", ["model", "λ", "bpp", "PSNR dB"], rows),
    ]


def head(result: Mapping[str, Any]) -> list[str]:
    """The section's paragraphs before its tables."""
    shipped = result["bd_rate"][VARIANTS[-1].name]
    verdict = percent(shipped["overall"]) or "no common range"
    low = percent(shipped["below"]) or "no common range"
    return [
        "## One model for every rate",
        f"`{result['measured_by']}`: {result['pictures']} Kodak pictures, the picture layer without a base, bits "
        "estimated: under the float model's probabilities, every row coded. The first four models are trained for one "
        "rate each and have no reconstruction offsets, which the one model has; of the others, each adds a part to the "
        "one before it.",
        f"![PSNR over bits per pixel, and rate beside a model for each rate]({PICTURE})",
        f"The one model needs {verdict} rate beside those trained for one rate each, {low} below "
        f"{result['below_db']:.0f} dB.",
    ]
