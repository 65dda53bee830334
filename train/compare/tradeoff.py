"""The ICIP 2021 experiment: the losses' weights decide who gets the bits, the detector or the eye."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.accuracy.document import PAGE
from bench.networks import shipped
from bench.pages import place
from bench.settings import data_root
from bench.written import check_file, write_json
from common import bundle as bundles
from train.compare import runs
from train.compare.coded import Frames, Point, above, curve, curved, kodak
from train.compare.report import Sheet, command, delta, number, percent, show, write
from train.recipes.rates import CHOSEN
from train.recipes.tradeoff import SETTINGS

KEY = "tradeoff"
EVEN = "even"
"""The setting that the others are held against."""
QUALITIES = (128, 160, 208, 272)
"""Of the base layer, where it is measured."""
BELOW = 160
"""Its quality where a picture is coded above it."""
AGREEMENT, PSNR = 0.90, 33.0
"""Where rates are read off the curves."""
PHOTOS = 128


@dataclass(frozen=True)
class Setting:
    """A setting's curves: the base layer's at QUALITIES, the picture's at CHOSEN."""

    base: Sequence[Point]
    picture: Sequence[Point]


def run(
    folder: Path, images: int | None = None, threads: int | None = None, json_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure the checkpoints in `folder`, print, write what is asked for, return what --json writes.

    At most `images` Kodak pictures and as many held-out photos. Raises MidstreamError naming the recipe of a checkpoint
    that is not there, before anything is measured.
    """
    check_file(json_path)
    docs_folder = place(PAGE) if docs else None
    if threads:
        torch.set_num_threads(threads)
    console = Console(highlight=False)
    models = {name: runs.family(folder, KEY, name) for name in SETTINGS}
    bundle, seen = bundles.load(shipped(), "both"), kodak(images)
    frames = Frames(bundle, data_root() / "images" / "coco_val", images or PHOTOS, console)
    found = {
        name: Setting(
            [frames.point(model.base, quality) for quality in QUALITIES],
            curve(above(model, frames.split, BELOW), seen, CHOSEN, name, console),
        )
        for name, model in models.items()
    }
    result = concluded(found)
    result |= {"pictures": len(seen), "photos": len(frames.samples), "measured_by": command(KEY, images)}
    show(sheets(result), console)
    if json_path is not None:
        write_json(json_path, result)
    if docs_folder is not None:
        write(docs_folder, KEY, head(result), sheets(result))
    return result


def concluded(found: Mapping[str, Setting]) -> dict[str, Any]:
    """Every point, and of each setting the rates at a given agreement and PSNR and the deltas beside EVEN."""
    base = {name: curved(each.base) for name, each in found.items()}
    picture = {name: curved(each.picture) for name, each in found.items()}
    settings = {
        name: {
            "w_x": SETTINGS[name].picture,
            "w_f": SETTINGS[name].features,
            "bytes": base[name].rate_at(AGREEMENT),
            "bytes_bd_rate": delta(base[EVEN], base[name]) if name != EVEN else None,
            "bpp": picture[name].rate_at(PSNR),
            "bpp_bd_rate": delta(picture[EVEN], picture[name]) if name != EVEN else None,
            "base": [dict(zip(("quality", "bytes", "agreement"), (q, *p), strict=True))
                     for q, p in zip(QUALITIES, each.base, strict=True)],
            "picture": [dict(zip(("lambda", "bpp", "psnr"), (w, *p), strict=True))
                        for w, p in zip(CHOSEN, each.picture, strict=True)],
        }
        for name, each in found.items()
    }  # fmt: skip
    return {"settings": settings}


def sheets(result: Mapping[str, Any]) -> list[Sheet]:
    """What the settings come to, then their points."""
    settings = result["settings"]
    heads = [
        "weights",
        "w_x",
        "w_f",
        f"bytes at {AGREEMENT:.2f}",
        "beside even",
        f"bpp at {PSNR:.0f} dB",
        "beside even",
    ]
    rows = [
        [name, f"{s['w_x']:g}", f"{s['w_f']:g}", number(s["bytes"], 0), percent(s["bytes_bd_rate"]),
         number(s["bpp"], 4), percent(s["bpp_bd_rate"])]
        for name, s in settings.items()
    ]  # fmt: skip
    base = [
        [name, str(p["quality"]), number(p["bytes"], 0), number(p["agreement"], 3)]
        for name, s in settings.items()
        for p in s["base"]
    ]
    picture = [
        [name, f"{p['lambda']:g}", number(p["bpp"], 4), number(p["psnr"], 2)]
        for name, s in settings.items()
        for p in s["picture"]
    ]
    return [
        Sheet("Rate at equal agreement, and at equal PSNR", heads, rows),
        Sheet("The base layer", ["weights", "quality", "bytes", "agreement"], base),
        Sheet(f"The picture, above a base layer of quality {BELOW}", ["weights", "λ", "bpp", "PSNR dB"], picture),
    ]


def head(result: Mapping[str, Any]) -> list[str]:
    """The section's paragraphs before its tables."""
    return [
        "## Detector or eye: the weights of the losses",
        f"`{result['measured_by']}`: base layer and picture trained together, briefly, with three settings of the "
        "weights w_x of the picture's error and w_f of the features'. The base layer on "
        f"{result['photos']} photos of COCO val2017, the picture on {result['pictures']} of Kodak; the picture's bits "
        "include the base layer's. All bits are estimated: the real bytes of a base layer that ships are "
        "fewer, because rows that are nearly always zero are not coded, at about the same agreement for equal bytes. "
        "Beside even: Bjontegaard delta of the rate.",
    ]
