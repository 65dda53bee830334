"""Photos with marks in COCO's format, and the accuracy of the embedded detector's eight classes on them.

A detector is a function from a picture (uint8 [H,W,3], RGB) to `Detections` in that picture's pixels. Scoring any
bundle by its own classes is `score`; here labels are counted in `LABELS` and everything is scored at the network's
scale (320 pixels on the long side), so that "small" means the same for a 640-pixel photo and a 4000-pixel one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.pictures import Picture, fitted
from bench.score import Marks, precision
from bench.settings import data_root
from common.errors import MidstreamError
from common.geometry import Detections, letterbox_geometry, to_picture

CATEGORIES = {"person": 1, "bicycle": 2, "car": 3, "motorcycle": 4, "bus": 6, "truck": 8, "cat": 17, "dog": 18}
"""Class name -> COCO category id."""
LABELS = tuple(CATEGORIES)
SIZES = {"small": (0.0, 24.0), "medium": (24.0, 64.0), "large": (64.0, 1e5)}
"""Name -> range of the root of a box's area, in network pixels."""
MIN_BOXES = 5
"""A class with fewer boxes than this is noise: reported, but not averaged."""

Detect = Callable[[Picture], Detections]


@dataclass(frozen=True)
class Photo:
    """A photo and what people marked in it."""

    path: Path
    width: int
    height: int
    marks: Marks

    def picture(self) -> Picture:
        """Return the decoded photo, [H,W,3] RGB."""
        with Image.open(self.path) as image:
            return np.asarray(image.convert("RGB"))


def photos(limit: int | None = None, listing: str = "instances_val.json") -> list[Photo]:
    """Return the first `limit` photos of a listing with their boxes of the classes in `LABELS`."""
    return listed(data_root() / listing, tuple(CATEGORIES.values()))[:limit]


def listed(listing: Path, ids: Sequence[int], source: str | None = None) -> list[Photo]:
    """Return the photos of a COCO JSON; `marks` hold the boxes of the categories `ids`, labels counted in `ids`.

    File names are relative to the listing's folder. If some photos are of this `source`, the others are left out.
    Raises MidstreamError if it is no such listing.
    """
    try:
        content = json.loads(listing.read_text())
        images = [i for i in content["images"] if source and i.get("source") == source] or content["images"]
        rows: dict[int, list[tuple[float, ...]]] = {image["id"]: [] for image in content["images"]}
        number = {category: index for index, category in enumerate(ids)}
        for a in content["annotations"]:
            if a["category_id"] in number:
                x, y, w, h = a["bbox"]
                rows[a["image_id"]].append((x, y, x + w, y + h, number[a["category_id"]], a.get("iscrowd", 0)))
        return [Photo(listing.parent / i["file_name"], i["width"], i["height"], _marks(rows[i["id"]])) for i in images]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise MidstreamError(f"{listing} is not a listing of photos with boxes, as COCO's JSON is: {e!r}") from e


def _marks(rows: list[tuple[float, ...]]) -> Marks:
    table = np.array(rows, float).reshape(-1, 6)
    return Marks(table[:, :4], table[:, 4].astype(np.int64), table[:, 5] != 0)


def letterbox(picture: Picture, size: int = 320) -> Picture:
    """Return the network's input [size,size,3]: the picture resized (bilinear, antialiased), centred on grey."""
    return fitted(picture, size)


def in_picture(found: Detections, picture: Picture, size: int = 320) -> Detections:
    """Return detections in network pixels as detections in the picture's."""
    box = letterbox_geometry(picture.shape[1], picture.shape[0], size)
    return Detections(to_picture(found.boxes, box), found.scores, found.labels)


def evaluate(truth: Sequence[Photo], found: Sequence[Detections]) -> dict:
    """Return AP50 by class, by size and overall for each photo's detections, in fractions of 1.

    `ap50` is the mean over the classes with at least five boxes; a class without any is absent. `by_size` holds
    the person class, the only one with enough boxes to be split.
    """
    scales = [320 / max(photo.width, photo.height) for photo in truth]
    marks = [Marks(p.marks.boxes * s, p.marks.labels, p.marks.crowd) for p, s in zip(truth, scales, strict=True)]
    small = [Detections(f.boxes * s, f.scores, f.labels) for f, s in zip(found, scales, strict=True)]
    scores = np.nan_to_num(precision(marks, small, len(LABELS), np.array([0.5]), SIZES)[0])
    counts = [sum(int((m.labels == i).sum()) for m in marks) for i in range(len(LABELS))]
    scored = {name: scores[0, i] for i, name in enumerate(LABELS) if counts[i]}
    common = [ap for i, ap in enumerate(scores[0]) if counts[i] >= MIN_BOXES]
    return {
        "ap50": float(np.mean(common)) if common else 0.0,
        "person_ap50": float(scored.get("person", 0.0)),
        "per_class": {name: float(ap) for name, ap in scored.items()},
        "by_size": {name: float(scores[i + 1, 0]) for i, name in enumerate(SIZES)},
        "n_images": len(truth),
    }
