"""The cut's features of all training photos, computed once: what base layers are trained on.

Every photo is there twice, as it is and mirrored: a network is not exactly symmetric, so its features of a mirrored
photo are not its features mirrored.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from bench.networks import placed
from common.bundle import Bundle
from common.codec.window import Window
from common.network.front import Front
from common.scalable.latent_features import mask_of, seen_cells
from train.nets.features import PATCH

VIEW = 160
EXCLUDED = ("cars", "kitti")
"""Sources of which a latent codec learns little: photos a few dozen pixels high."""


@dataclass(frozen=True)
class Cuts:
    """`features` float16 [2 N, C, H, W], mapped: photo i at 2 i, mirrored at 2 i + 1; `sizes` [N, 2] width, height."""

    features: NDArray[np.float16]
    views: NDArray[np.uint8]
    """[N, 160, 160, 3]: what the network saw, half as large."""
    sizes: NDArray[np.int32]
    sources: list[str]
    masks: NDArray[np.float32]
    """[N, H/4, W/4]: 1 where a latent's cell sees the photo."""

    def __len__(self) -> int:
        return len(self.features)

    def seen(self, rows: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Features [B,C,H,W] and masks [B,1,H/4,W/4] of rows of `features`."""
        masks = self.masks[rows // 2]
        masks = np.where((rows % 2 == 1)[:, None, None], masks[:, :, ::-1], masks)
        features = np.stack([self.features[row] for row in rows]).astype(np.float32)
        return torch.from_numpy(features), torch.from_numpy(masks)[:, None]

    def views_of(self, rows: NDArray[np.integer]) -> Tensor:
        """What the network saw [B,3,160,160] in 0..1."""
        views = [self.views[row // 2][:, ::-1] if row % 2 else self.views[row // 2] for row in rows]
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255


def cuts(bundle: Bundle, root: Path, cache: Path) -> Cuts:
    """The features of `root`'s training photos at the bundle's cut, made in `cache` if they are not there."""
    (shape,) = bundle.manifest.cut.shapes
    images = json.loads((root / "instances_train.json").read_text())["images"]
    path = cache / f"cuts-{bundle.digest[:12]}.f16"
    views = path.with_suffix(".u8")
    photos = [root / image["file_name"] for image in images]
    if not path.exists():
        _run(bundle, photos, path)
    if not views.exists():
        _view(bundle, photos, views)
    sizes = np.array([(image["width"], image["height"]) for image in images], np.int32)
    windows = [bundle.manifest.input.window(int(w), int(h)) for w, h in sizes]
    return Cuts(
        np.memmap(path, np.float16, "r", shape=(2 * len(images), *shape)),
        np.memmap(views, np.uint8, "r", shape=(len(images), VIEW, VIEW, 3)),
        sizes,
        [image["source"] for image in images],
        np.stack([cells(window, shape[1]) for window in windows]),
    )


def cells(window: Window, size: int) -> NDArray[np.float32]:
    """[H/4,W/4]: 1 where a latent's cell sees the window."""
    grid = size // PATCH, size // PATCH
    return mask_of([seen_cells(window, grid)], grid)[0, 0]


def _view(bundle: Bundle, photos: list[Path], path: Path) -> None:
    with path.open("wb") as file:
        for photo in tqdm(photos, "views", disable=None):
            seen = placed(cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB), bundle.manifest.input)
            file.write(cv2.resize(seen, (VIEW, VIEW), interpolation=cv2.INTER_AREA).tobytes())


def sizes(pool: Cuts) -> Tensor:
    """[C]: the features' standard deviation, by channel."""
    return torch.from_numpy(pool.features[::50].astype(np.float32)).std((0, 2, 3))


def _run(bundle: Bundle, photos: list[Path], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    front, partial = Front(bundle), path.with_suffix(".partial")
    with partial.open("wb") as file:
        for photo in tqdm(photos, "features", disable=None):
            pixels = cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB)
            for picture in (pixels, np.ascontiguousarray(pixels[:, ::-1])):
                (cut,) = front.run(placed(picture, bundle.manifest.input))
                file.write(cut.astype(np.float16).tobytes())
    partial.replace(path)
