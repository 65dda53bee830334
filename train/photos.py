"""The training photos: decoded once, small, into one flat file that is mapped into memory."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.coco import CATEGORIES

INDEX = {category: index for index, category in enumerate(CATEGORIES.values())}
"""COCO category id -> class index."""
UNLABELLED = {"pennfudan": range(1, 8), "kitti": (1, 3, 4, 6, 7)}
"""By source: classes (by index) that its annotators did not mark, so that their absence teaches nothing."""
LONG_SIDE = 416
SURE, UNSURE = 0.4, 0.15
"""A teacher's box counts from SURE on; between the two it is neither object nor background."""
COMMON = {INDEX[CATEGORIES[name]] for name in ("person", "car", "cat", "dog")}
RARE, EMPTY = 2.5, 0.4
"""How often a photo with an uncommon class is drawn, and one without any object, beside the others' 1."""
FAVOUR = {"coco_train2017": 3.0, "imagenet_sample": 1.5, "camvid": 0.5, "pets": 0.5}
"""By source, how much more often yet: the most varied photos; less often those that are much alike."""


@dataclass(frozen=True)
class Photo:
    """One decoded photo and its boxes, in its own pixels."""

    pixels: NDArray[np.uint8]
    """[H,W,3] RGB."""
    boxes: NDArray[np.float32]
    """[M,6]: x1, y1, x2, y2, class index, trust; a trust of 0 marks a box to be left alone."""


class Photos:
    """The training set of `root`, cached in `cache`: `photos[i]` costs nothing but the pages it touches."""

    def __init__(self, root: Path, cache: Path) -> None:
        listing = json.loads((root / "instances_train.json").read_text())
        self.images = listing["images"]
        self.sizes = [cached_size(i["width"], i["height"]) for i in self.images]
        self.starts = np.concatenate(([0], np.cumsum([w * h * 3 for w, h in self.sizes])))
        path = cache / f"photos-{LONG_SIDE}-{self.starts[-1]}.u8"
        if not path.exists():
            self._decode(root, path)
        self.pixels = np.memmap(path, np.uint8, "r")
        self.boxes = self._boxes(listing["annotations"])
        favours = [FAVOUR.get(image["source"], 1.0) for image in self.images]
        weights = np.array([weight(b) * f for b, f in zip(self.boxes, favours, strict=True)])
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Photo:
        width, height = self.sizes[index]
        flat = self.pixels[self.starts[index] : self.starts[index + 1]]
        return Photo(flat.reshape(height, width, 3), self.boxes[index])

    def draw(self, rng: np.random.Generator) -> Photo:
        """Return a random photo, those with uncommon classes more often."""
        return self[rng.choice(len(self), p=self.weights)]

    def _decode(self, root: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for image, size in zip(self.images, self.sizes, strict=True):
                pixels = cv2.imread(str(root / image["file_name"]), cv2.IMREAD_COLOR_RGB)
                file.write(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).tobytes())
        partial.replace(path)

    def _boxes(self, annotations: list[dict[str, Any]]) -> list[NDArray[np.float32]]:
        place = {image["id"]: index for index, image in enumerate(self.images)}
        rows: list[list[tuple[float, ...]]] = [[] for _ in self.images]
        for a in annotations:
            score = a.get("score", 1.0)
            if a["category_id"] in INDEX and score >= UNSURE:
                index = place[a["image_id"]]
                scale = self.sizes[index][0] / self.images[index]["width"]
                x, y, w, h = (v * scale for v in a["bbox"])
                trust = score**0.5 if score >= SURE else 0.0
                rows[index].append((x, y, x + w, y + h, INDEX[a["category_id"]], trust))
        for found, image, (w, h) in zip(rows, self.images, self.sizes, strict=True):
            found += [(0, 0, w, h, label, 0) for label in UNLABELLED.get(image["source"], ())]
        return [np.array(found, np.float32).reshape(-1, 6) for found in rows]


def cached_size(width: int, height: int) -> tuple[int, int]:
    """Return the size a photo is cached at: at most `LONG_SIDE`, never enlarged."""
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def weight(boxes: NDArray[np.float32]) -> float:
    """Return how often a photo with these boxes [M,6] is drawn, relative to one of persons and cars."""
    labels = {int(label) for label in boxes[boxes[:, 5] > 0, 4]}
    if not labels:
        return EMPTY
    return RARE if labels - COMMON else 1.0
