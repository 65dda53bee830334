"""The embedded detector's accuracy beside NanoDet-m's, on the same photos, letterbox, suppression and scoring."""

import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.coco import LABELS, Detect, Photo, evaluate, photos
from bench.networks import NanoDet, Split, shipped
from bench.pictures import Picture
from bench.settings import data_root
from common import bundle as bundles
from common.bundle import Bundle
from common.geometry import Detections

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
    result = {"ours": measure(of(bundles.load(bundle_dir, "both")), truth), "nanodet": measure(NanoDet(rival), truth)}
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1) + "\n")
    Console().print(table(result))
    return result


def of(bundle: Bundle) -> Detect:
    """Return a bundle's detector, labels counted in `bench.coco.LABELS`; what has no place there is dropped."""
    split = Split(bundle)
    place = np.array([LABELS.index(label) if label in LABELS else -1 for label in bundle.manifest.detector.labels])

    def detect(picture: Picture) -> Detections:
        found = split(picture)
        labels = place[found.labels]
        known = labels >= 0
        return Detections(found.boxes[known], found.scores[known], labels[known])

    return detect


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
