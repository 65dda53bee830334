"""Training photos and what is done to them: a cache of small decoded photos, mosaics, colour.

The batch of a step depends on the seed and the step's number alone, so a resumed run sees the same photos
as one that was never stopped.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 6: "bus", 8: "truck", 17: "cat", 18: "dog"}
"""COCO category id -> name; a class's index is its place here."""
INDEX = {category: index for index, category in enumerate(CLASSES)}
UNLABELLED = {"pennfudan": set(range(1, 8)), "kitti": {1, 3, 4}}
"""By source: class indices its annotators did not mark, so that their absence teaches nothing."""
LONG_SIDE = 416
SURE, UNSURE = 0.4, 0.15
"""A teacher's box counts from SURE on; between the two it is neither object nor background."""
GREY = 114
RARE = 2.5
EMPTY = 0.4


def data_root() -> Path:
    """Return the data folder: MIDSTREAM_DATA, else ../shared/data beside the project."""
    root = Path(os.environ.get("MIDSTREAM_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (root / "instances_train.json").exists():
        raise FileNotFoundError(f"no training data in {root}: set MIDSTREAM_DATA to the folder of instances_train.json")
    return root


@dataclass(frozen=True)
class Photo:
    """One decoded photo and its boxes, in its own pixels."""

    pixels: NDArray[np.uint8]
    """[H,W,3] RGB."""
    boxes: NDArray[np.float32]
    """[M,6]: x1, y1, x2, y2, class index, trust; a trust of 0 marks a box to be left alone."""


class Photos:
    """The training set, decoded once to a flat file in `cache` and mapped from there."""

    def __init__(self, root: Path, cache: Path) -> None:
        listing = json.loads((root / "instances_train.json").read_text())
        self.images = listing["images"]
        self.sizes = [_cached_size(i["width"], i["height"]) for i in self.images]
        self.starts = np.concatenate(([0], np.cumsum([w * h * 3 for w, h in self.sizes])))
        path = cache / f"photos-{LONG_SIDE}-{self.starts[-1]}.u8"
        if not path.exists():
            self._decode(root, path)
        self.pixels = np.memmap(path, np.uint8, "r")
        self.boxes = self._boxes(listing["annotations"])
        self.weights = np.array([_weight(b) for b in self.boxes])
        self.weights /= self.weights.sum()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Photo:
        width, height = self.sizes[index]
        flat = self.pixels[self.starts[index] : self.starts[index + 1]]
        return Photo(flat.reshape(height, width, 3), self.boxes[index])

    def _decode(self, root: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for image, size in zip(self.images, self.sizes, strict=True):
                pixels = cv2.imread(str(root / image["file_name"]), cv2.IMREAD_COLOR_RGB)
                file.write(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).tobytes())
        partial.rename(path)

    def _boxes(self, annotations: list[dict]) -> list[NDArray[np.float32]]:
        place = {image["id"]: index for index, image in enumerate(self.images)}
        rows: list[list[tuple[float, ...]]] = [[] for _ in self.images]
        for a in annotations:
            if a["category_id"] in INDEX and a.get("score", 1) >= UNSURE:
                index = place[a["image_id"]]
                scale = self.sizes[index][0] / self.images[index]["width"]
                x, y, w, h = (v * scale for v in a["bbox"])
                score = a.get("score", 1.0)
                rows[index].append((x, y, x + w, y + h, INDEX[a["category_id"]], score**0.5 if score >= SURE else 0))
        for index, (image, (w, h)) in enumerate(zip(self.images, self.sizes, strict=True)):
            rows[index] += [(0, 0, w, h, c, 0) for c in UNLABELLED.get(image["source"], ())]
        return [np.array(r, np.float32).reshape(-1, 6) for r in rows]


def _cached_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _weight(boxes: NDArray[np.float32]) -> float:
    labels = boxes[boxes[:, 5] > 0, 4]
    if not len(labels):
        return EMPTY
    # Persons and cars fill the set; whatever else a photo holds makes it worth seeing more often.
    return RARE if np.any((labels != 0) & (labels != 2)) else 1.0


@dataclass(frozen=True)
class Batch:
    """Photos [N,S,S,3] uint8 RGB, and boxes [M,7]: photo, x1, y1, x2, y2, class, trust (0: leave alone)."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def batch(photos: Photos, rng: np.random.Generator, count: int, size: int, mosaic: float) -> Batch:
    """Return `count` augmented photos of `size` x `size`, a share `mosaic` of them made of four."""
    pixels = np.full((count, size, size, 3), GREY, np.uint8)
    boxes = []
    for i in range(count):
        four = rng.random() < mosaic
        found = _mosaic(photos, rng, pixels[i]) if four else _single(photos, rng, pixels[i], (0.55, 1.5))
        pixels[i] = _colour(rng, pixels[i])
        boxes.append(np.concatenate((np.full((len(found), 1), i, np.float32), found), 1))
    return Batch(pixels, np.concatenate(boxes))


def _mosaic(photos: Photos, rng: np.random.Generator, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Fill the four quarters about a random middle; return all their boxes."""
    size = len(canvas)
    mx, my = (int(v) for v in rng.uniform(0.3, 0.7, 2) * size)
    found = []
    for x0, y0, x1, y1 in ((0, 0, mx, my), (mx, 0, size, my), (0, my, mx, size), (mx, my, size, size)):
        boxes = _single(photos, rng, canvas[y0:y1, x0:x1], (0.8, 2.0))
        found.append(boxes + np.array([x0, y0, x0, y0, 0, 0], np.float32))
    return np.concatenate(found)


def _single(
    photos: Photos, rng: np.random.Generator, canvas: NDArray[np.uint8], zoom: tuple[float, float]
) -> NDArray[np.float32]:
    """Draw a random photo into `canvas`, scaled, stretched, shifted and perhaps mirrored; return its boxes."""
    photo = photos[rng.choice(len(photos), p=photos.weights)]
    (height, width), (ph, pw) = canvas.shape[:2], photo.pixels.shape[:2]
    scale = min(height / ph, width / pw) * np.exp(rng.uniform(*np.log(zoom)))
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    sx, sy = scale * stretch, scale / stretch
    # The photo slides freely: inside the canvas where it is smaller, over its edges where it is larger.
    dx, dy = rng.uniform(0, 1) * (width - pw * sx), rng.uniform(0, 1) * (height - ph * sy)
    if rng.random() < 0.5:
        sx, dx = -sx, dx + pw * sx
    source, kx, ky = photo.pixels, sx, sy
    if scale < 0.5:  # far shrinking needs averaging, or the edges of a large photo turn to noise
        source = cv2.resize(source, (pw // 2, ph // 2), interpolation=cv2.INTER_AREA)
        kx, ky = sx * pw / (pw // 2), sy * ph / (ph // 2)
    # A pixel's centre is half a pixel in: hence the shift by half of one source pixel less half a target's.
    matrix = np.array([[kx, 0, dx + kx / 2 - 0.5], [0, ky, dy + ky / 2 - 0.5]])
    canvas[:] = cv2.warpAffine(source, matrix, (width, height), borderValue=(GREY,) * 3)
    return _move(photo.boxes, (sx, sy, dx, dy), width, height)


def _move(
    boxes: NDArray[np.float32], placing: tuple[float, float, float, float], width: int, height: int
) -> NDArray[np.float32]:
    """Return the boxes [M,6] as placed and cut off by the canvas; what hardly shows is left alone or dropped."""
    sx, sy, dx, dy = placing
    x = np.sort(boxes[:, [0, 2]] * sx + dx, 1)
    y = boxes[:, [1, 3]] * sy + dy
    whole = (x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0])
    x, y = x.clip(0, width), y.clip(0, height)
    w, h = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    shown = w * h / whole.clip(1e-6)
    trust = np.where((shown >= 0.3) & (np.minimum(w, h) >= 3), boxes[:, 5], 0)
    moved = np.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1], boxes[:, 4], trust), 1)
    return moved[(shown > 0.05) & (w >= 1) & (h >= 1)].astype(np.float32)


def _colour(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return [S,S,3] with brightness, contrast, gamma, white balance and saturation changed at random."""
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    gain = np.exp(rng.uniform(-0.35, 0.35) + rng.uniform(-0.08, 0.08, 3))
    curve = ((ramp ** np.exp(rng.uniform(-0.3, 0.3)) - 0.5) * np.exp(rng.uniform(-0.25, 0.25)) + 0.5) * gain
    pixels = cv2.LUT(pixels, (curve * 255).clip(0, 255).astype(np.uint8)[None])
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        saturation = rng.uniform(0.0, 1.5)
        pixels = cv2.addWeighted(pixels, saturation, grey, 1 - saturation, 0)
    return pixels
