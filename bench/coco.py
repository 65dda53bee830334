"""Accuracy on held-out COCO-style photos: one code for every detector, ours and others', coded or not.

A detector is a function from a picture (uint8 [H,W,3], RGB) to `Detections` in that picture's pixels, labels
counted in `LABELS`. Everything is scored at the network's scale (320 pixels on the long side), so that "small"
means the same for a 640-pixel photo and a 4000-pixel one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.settings import data_root
from common.geometry import GREY, Detections, letterbox_geometry, to_picture

CATEGORIES = {"person": 1, "bicycle": 2, "car": 3, "motorcycle": 4, "bus": 6, "truck": 8, "cat": 17, "dog": 18}
"""Class name -> COCO category id."""
LABELS = tuple(CATEGORIES)
SIZES = {"small": (0.0, 24.0), "medium": (24.0, 64.0), "large": (64.0, 1e5)}
"""Name -> range of the root of a box's area, in network pixels."""
MIN_BOXES = 5
"""A class with fewer boxes than this is noise: reported, but not averaged."""

Picture = NDArray[np.uint8]
Detect = Callable[[Picture], Detections]


@dataclass(frozen=True)
class Photo:
    """A photo and what people marked in it: boxes [M,4] (x1, y1, x2, y2) with labels [M]."""

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]

    def picture(self) -> Picture:
        """Return the decoded photo, [H,W,3] RGB."""
        with Image.open(self.path) as image:
            return np.asarray(image.convert("RGB"))


def photos(limit: int | None = None, listing: str = "instances_val.json") -> list[Photo]:
    """Return the first `limit` photos of a listing with their boxes of the classes in `LABELS`."""
    root = data_root()
    content = json.loads((root / listing).read_text())
    number = {category: index for index, category in enumerate(CATEGORIES.values())}
    rows: dict[int, list[tuple[float, ...]]] = {image["id"]: [] for image in content["images"]}
    for a in content["annotations"]:
        if a["category_id"] in number:
            x, y, w, h = a["bbox"]
            rows[a["image_id"]].append((x, y, x + w, y + h, number[a["category_id"]]))
    found = []
    for image in content["images"][:limit]:
        marks = np.array(rows[image["id"]], float).reshape(-1, 5)
        place = root / image["file_name"], image["width"], image["height"]
        found.append(Photo(*place, marks[:, :4], marks[:, 4].astype(np.int64)))
    return found


def letterbox(picture: Picture, size: int = 320) -> Picture:
    """Return the network's input [size,size,3]: the picture resized (bilinear, antialiased), centred on grey."""
    box = letterbox_geometry(picture.shape[1], picture.shape[0], size)
    small = Image.fromarray(picture).resize((box.width, box.height), Image.Resampling.BILINEAR)
    canvas = np.full((size, size, 3), GREY, np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(small)
    return canvas


def in_picture(found: Detections, picture: Picture, size: int = 320) -> Detections:
    """Return detections in network pixels as detections in the picture's."""
    box = letterbox_geometry(picture.shape[1], picture.shape[0], size)
    return Detections(to_picture(found.boxes, box), found.scores, found.labels)


def evaluate(truth: Sequence[Photo], found: Sequence[Detections]) -> dict:
    """Return AP50 by class, by size and overall for each photo's detections, in fractions of 1.

    `ap50` is the mean over the classes with at least five boxes; a class without any is absent. `by_size` holds
    the person class, the only one with enough boxes to be split.
    """
    precision, counts = _precision(truth, found)
    scored = {name: precision[0, i] for i, name in enumerate(LABELS) if counts[i]}
    common = [ap for i, ap in enumerate(precision[0]) if counts[i] >= MIN_BOXES]
    return {
        "ap50": float(np.mean(common)) if common else 0.0,
        "person_ap50": float(scored.get("person", 0.0)),
        "per_class": {name: float(ap) for name, ap in scored.items()},
        "by_size": {name: float(precision[i + 1, 0]) for i, name in enumerate(SIZES)},
        "n_images": len(truth),
    }


def agreement(truth: Sequence[Photo], reference: Sequence[Detections], found: Sequence[Detections]) -> float:
    """Return the AP50 of `found` against the `reference` detections with a score of at least 0.3.

    This asks what coding the cut changed, not whether the detector was right: uncoded, it is 1.
    """
    marked = []
    for photo, seen in zip(truth, reference, strict=True):
        sure = seen.scores >= 0.3
        marked.append(Photo(photo.path, photo.width, photo.height, seen.boxes[sure].astype(float), seen.labels[sure]))
    return float(evaluate(marked, found)["ap50"])


def _precision(truth: Sequence[Photo], found: Sequence[Detections]) -> tuple[NDArray[np.float64], list[int]]:
    """Return AP50 [1 + sizes, classes] (all sizes first; nan clipped to 0) and the boxes of each class."""
    from faster_coco_eval import COCO, COCOeval_faster

    images, marks, results = [], [], []
    for number, (photo, seen) in enumerate(zip(truth, found, strict=True), 1):
        scale = 320 / max(photo.width, photo.height)
        images.append({"id": number, "width": 320, "height": 320})
        for box, label in zip(photo.boxes * scale, photo.labels, strict=True):
            marks.append({"id": len(marks) + 1, "image_id": number, "iscrowd": 0, **_record(box, label)})
        for box, label, score in zip(seen.boxes * scale, seen.labels, seen.scores, strict=True):
            results.append({"image_id": number, "score": float(score), **_record(box, label)})
    counts = [sum(m["category_id"] == i + 1 for m in marks) for i in range(len(LABELS))]
    if not results or not marks:
        return np.zeros((1 + len(SIZES), len(LABELS))), counts
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)]
    known = COCO({"images": images, "annotations": marks, "categories": categories})
    ranges = {name: [low**2, high**2] for name, (low, high) in SIZES.items()}
    scorer = COCOeval_faster(known, known.loadRes(results), "bbox", ranges=ranges, print_function=lambda *_: None)
    scorer.params.iouThrs = np.array([0.5])
    scorer.params.areaRngLbl = ["all", *SIZES]
    scorer.evaluate()
    scorer.accumulate()
    # precision: [threshold, recall, class, size, limit]; -1 where a class has no box of a size.
    curve = scorer.eval["precision"].reshape(1, 101, len(LABELS), 1 + len(SIZES), -1)[0, :, :, :, -1]
    return curve.mean(0).clip(0).T, counts


def _record(box: NDArray[np.float64], label: int) -> dict:
    x1, y1, x2, y2 = (float(v) for v in box)
    w, h = x2 - x1, y2 - y1
    return {"category_id": int(label) + 1, "bbox": [x1, y1, w, h], "area": w * h}
