"""What `midstream train detector` exports, as the halves of a bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.coco import CATEGORIES
from bench.macs import multiply_adds
from bench.networks import Split
from common.errors import BundleError
from train.bundles.fit import DEFAULT_LEVELS, LEVELS, Fit, Fitted
from train.bundles.halves import Halves, tensors
from train.bundles.images import Sample

VERSION = "0.1.0"
FILES = ("meta.json", "calibration.npz", "front.onnx", "back.onnx")


def halves(folder: Path) -> Halves:
    """The halves that training left in this folder. Raises BundleError naming what is missing."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise BundleError(f"{folder} is no export: {', '.join(missing)} missing (midstream train detector makes one)")
    meta = json.loads((folder / "meta.json").read_text())
    width, height = meta["input"]["size"]
    return Halves(
        name="embedded",
        version=VERSION,
        description="The embedded detector: one-stage, anchor-free, 320x320, made for a narrow cut.",
        detector={
            "name": meta["detector"],
            "labels": meta["labels"],
            "coco_ids": [CATEGORIES[name] for name in meta["labels"]],
            "score_threshold": 0.1,
            "nms_iou": 0.6,
            "max_detections": 100,
        },
        input={"width": width, "height": height, "pad": meta["letterbox"]["fill"]},
        cut={
            "tensors": tensors([meta["cut"]["name"]], [tuple(meta["cut"]["shape"])]),
            "macs_front": multiply_adds(folder / "front.onnx"),
            "macs_back": multiply_adds(folder / "back.onnx"),
        },
        back={},
        files={
            "front.onnx": ("both", (folder / "front.onnx").read_bytes()),
            "back.onnx": ("both", (folder / "back.onnx").read_bytes()),
        },
    )


def fit(folder: Path) -> Fit:
    """The lightweight codec's clips from the mean and variance that training measured; pictures add nothing."""

    def fitted(split: Split, samples: Sequence[Sample], console: Console) -> Fitted:
        with np.load(folder / "calibration.npz", allow_pickle=False) as calibration:
            mean, variance = float(calibration["mean"]), float(calibration["variance"])
        params: dict[str, Any] = {
            "name": "lightweight",
            "shapes": [list(shape) for shape in split.bundle.manifest.cut.shapes],
            "mean": mean,
            "variance": variance,
            "slope": json.loads((folder / "meta.json").read_text())["activation"]["slope"],
            "levels": list(LEVELS),
            "default_levels": DEFAULT_LEVELS,
        }
        return params, {}

    return fitted
