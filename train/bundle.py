"""An exported detector becomes a bundle: calibration into the manifest, operating points measured on real bytes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from bench.coco import CATEGORIES, Photo, evaluate, photos
from bench.coding import Subject, feature_points
from bench.detector import QUICK
from bench.networks import Embedded
from common import bundle as bundles
from common.bundle import OperatingPoint
from common.codec import CODECS
from common.errors import BundleError
from train.macs import multiply_adds

console = Console(highlight=False, soft_wrap=True)
VERSION = "0.1.0"
LEVELS = (2, 3, 4, 5, 6, 8, 12, 16)
DEFAULT_LEVELS = 4


@dataclass(frozen=True)
class Export:
    """What training leaves behind: `meta.json`, `calibration.npz`, `front.onnx`, `back.onnx`."""

    folder: Path

    def check(self) -> None:
        """Raise BundleError naming what is missing."""
        needed = ("meta.json", "calibration.npz", "front.onnx", "back.onnx")
        if missing := [name for name in needed if not (self.folder / name).is_file()]:
            raise BundleError(f"{self.folder} is no export: {', '.join(missing)} missing (midstream train detector)")

    @property
    def meta(self) -> dict[str, Any]:
        """Names and shapes."""
        meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        return meta

    def codec(self) -> dict[str, Any]:
        """The manifest's [codec] table: the clip model needs the cut's mean and variance, nothing else."""
        with np.load(self.folder / "calibration.npz", allow_pickle=False) as calibration:
            mean, variance = float(calibration["mean"]), float(calibration["variance"])
        return {
            "name": "lightweight",
            "shapes": [self.meta["cut"]["shape"]],
            "mean": mean,
            "variance": variance,
            "slope": self.meta["activation"]["slope"],
            "levels": list(LEVELS),
            "default_levels": DEFAULT_LEVELS,
        }


def build(export: Path, out: Path, quick: bool = False) -> bundles.Bundle:
    """Write the bundle of an export below `out`, with every operating point measured; print what it is."""
    source = Export(export)
    source.check()
    codec = source.codec()
    points = measure(export, codec, photos(QUICK if quick else None))
    sides: dict[str, bundles.Side] = {"front.onnx": "edge", "back.onnx": "cloud", "calibration.npz": "cloud"}
    files = {name: (side, (export / name).read_bytes()) for name, side in sides.items()}
    bundle = bundles.write(out, manifest(source.meta, export, codec, points), files)
    console.print(f"{bundle!r}\n{bundle.path}")
    return bundles.load(bundle.path, "both", bundle.digest)


def manifest(
    meta: dict[str, Any], export: Path, codec: dict[str, Any], points: list[dict[str, float]]
) -> dict[str, object]:
    """Everything bundle.toml says but the files."""
    width, height = meta["input"]["size"]
    return {
        "name": "embedded",
        "version": VERSION,
        "description": "The embedded detector: one-stage, anchor-free, 320x320, made for a narrow cut.",
        "detector": {
            "name": meta["detector"],
            "labels": meta["labels"],
            "coco_ids": [CATEGORIES[name] for name in meta["labels"]],
            "score_threshold": 0.1,
            "nms_iou": 0.6,
            "max_detections": 100,
        },
        "input": {"width": width, "height": height, "pad": meta["letterbox"]["fill"]},
        "cut": {
            "tensors": [{"name": meta["cut"]["name"], "shape": meta["cut"]["shape"]}],
            "macs_front": multiply_adds(export / "front.onnx"),
            "macs_back": multiply_adds(export / "back.onnx"),
        },
        "codec": codec,
        "operating_points": points,
    }


def measure(export: Path, params: dict[str, Any], truth: list[Photo]) -> list[dict[str, float]]:
    """Bytes (whole containers) and accuracy at every number of levels, each photo through the real codec."""
    codec = CODECS[params["name"]].from_params(params, {})
    subject = Subject(Embedded(export), truth)
    console.print(f"uncoded: AP50 {evaluate(truth, subject.uncoded)['ap50']:.3f}")
    measured = feature_points(subject, codec, codec.qualities)
    points = track(measured, "operating points", len(codec.qualities), console=console)
    return [{name: p[name] for name in OperatingPoint.model_fields} for p in points]
