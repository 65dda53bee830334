"""Crops of the training photos for picture codecs: cut once into one flat file that is mapped into memory.

A crop remembers where it lies in its photo, so that what is known of the whole photo (a layer below) can be put
beside it. Crops are 256 pixels: smaller ones teach a hyper-latent at a 64th of the size its own padding.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

SIZE = 256
LEAST_SCALE = 0.7
"""A photo is made smaller at random, down to this: less of its compression is left, and scales vary."""

WHERE = np.dtype(
    [("photo", np.int32), ("mirror", np.bool_), ("x", np.float32), ("y", np.float32), ("scale", np.float32)]
)
"""The photo's index in the listing, whether it was mirrored first, the crop's corner and pixel in pixels of it."""


@dataclass(frozen=True)
class Mix:
    """`shares`: crops of a photo by its source, none of others; `name`, of their file; `seed`, of all that is drawn."""

    name: str
    seed: int
    shares: Mapping[str, float]


VARIED = Mix(
    "varied",
    1,
    {
        "bsds500_train": 12,
        "coco_train2017": 10,
        "imagenet_sample": 4,
        "pennfudan": 4,
        "street": 3,
        "pets": 2,
        "camvid": 1.5,
    },
)
"""More of those that were compressed the least."""
SHARP = Mix("sharp", 2, {"bsds500_train": 30, "coco_train2017": 12, "imagenet_sample": 2, "pennfudan": 2, "street": 1})
"""Next to nothing of others."""


@dataclass(frozen=True)
class Crops:
    """`pixels` uint8 [N,256,256,3] RGB, mapped; `where` [N] of WHERE."""

    pixels: NDArray[np.uint8]
    where: NDArray[np.void]

    def __len__(self) -> int:
        return len(self.where)


def crops(root: Path, cache: Path, mix: Mix = VARIED) -> Crops:
    """The crops of `root`'s training photos, made in `cache` if they are not there: 2 GB."""
    path = cache / f"crops-{SIZE}-{mix.name}.u8"
    index = path.with_suffix(".npy")
    if not index.exists():
        _cut(root, path, index, mix)
    where = np.load(index)
    return Crops(np.memmap(path, np.uint8, "r", shape=(len(where), SIZE, SIZE, 3)), where)


def pictures(crops: Tensor) -> Tensor:
    """Crops uint8 [B,H,W,3] as x [B,3,H,W] in 0..1."""
    return crops.permute(0, 3, 1, 2).float().div(255).to(memory_format=torch.channels_last)


def _cut(root: Path, path: Path, index: Path, mix: Mix) -> None:
    rng = np.random.default_rng(mix.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = json.loads((root / "instances_train.json").read_text())["images"]
    places = []
    for number, image in enumerate(images):
        count = mix.shares.get(image["source"], 0) if min(image["width"], image["height"]) >= SIZE else 0
        places += [number] * int(count + rng.random())
    rng.shuffle(places)  # reading in order is then drawing at random
    where = np.zeros(len(places), WHERE)
    photos: dict[int, NDArray[np.uint8]] = {}
    with path.open("wb") as file:
        for row, number in enumerate(tqdm(places, "crops", disable=None)):
            if number not in photos:
                photos[number] = cv2.imread(str(root / images[number]["file_name"]), cv2.IMREAD_COLOR_RGB)
            pixels, where[row] = _crop(photos[number], number, rng)
            file.write(pixels.tobytes())
    np.save(index, where)


def _crop(photo: NDArray[np.uint8], number: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], tuple]:
    height, width = photo.shape[:2]
    least = max(LEAST_SCALE, SIZE / min(height, width))
    scale = rng.uniform(least, 1.0) if rng.random() < 0.7 else 1.0
    size = max(SIZE, round(width * scale)), max(SIZE, round(height * scale))
    mirror = bool(rng.random() < 0.5)
    if scale < 1:
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    if mirror:
        photo = photo[:, ::-1]
    x, y = rng.integers(0, photo.shape[1] - SIZE + 1), rng.integers(0, photo.shape[0] - SIZE + 1)
    crop = np.ascontiguousarray(photo[y : y + SIZE, x : x + SIZE])
    pixel = width / photo.shape[1]
    return crop, (number, mirror, x * pixel, y * height / photo.shape[0], pixel)
