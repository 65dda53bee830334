"""The embedded detector's accuracy beside NanoDet-m's, on the same photos, letterbox, suppression and scoring."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.coco import LABELS, Detect, Photo, evaluate, photos
from bench.networks import Embedded, NanoDet, shipped
from bench.settings import data_root

QUICK = 40


def measure(detect: Detect, truth: list[Photo]) -> dict:
    """Return the accuracy of a detector on these photos."""
    return evaluate(truth, [detect(photo.picture()) for photo in truth])


def run(bundle_dir: Path | None, quick: bool, json_path: Path | None) -> dict:
    """Measure a bundle's detector (None: the shipped one) and NanoDet-m, uncoded; print, write JSON.

    What coding costs them is `accuracy`'s business.
    """
    bundle_dir = bundle_dir or shipped()
    truth = photos(QUICK if quick else None)
    rival = data_root() / "weights" / "nanodet_m_320.onnx"
    result = {"ours": measure(Embedded(bundle_dir), truth), "nanodet": measure(NanoDet(rival), truth)}
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1) + "\n")
    Console().print(table(result))
    return result


def table(result: dict) -> Table:
    """Return both detectors' AP50 by class and, for persons, by size."""
    ours, rival = result["ours"], result["nanodet"]
    drawn = Table("AP50", "ours", "NanoDet-m", title=f"{ours['n_images']} photos, 320x320")
    drawn.add_row("mean of common classes", f"{ours['ap50']:.3f}", f"{rival['ap50']:.3f}")
    for name in (n for n in LABELS if n in ours["per_class"]):
        drawn.add_row(name, f"{ours['per_class'][name]:.3f}", f"{rival['per_class'][name]:.3f}")
    for name in ours["by_size"]:
        drawn.add_row(f"person, {name}", f"{ours['by_size'][name]:.3f}", f"{rival['by_size'][name]:.3f}")
    return drawn
