"""Photos with masks at the cut, and the training of the head that reads masks from features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.masks.labels import HELD_OUT, UNKNOWN, classes
from common.bundle import Input
from train.cuts import VIEW, Cuts
from train.nets.scalable import MaskHead

WEIGHTS = (0.6, 1.5, 1.2)
"""Of the classes: there is more background than anything."""


@dataclass(frozen=True)
class Masks:
    """`photos` [M] of a `Cuts` and their `labels` uint8 [M,160,160], 255 where nothing is known."""

    photos: NDArray[np.int64]
    labels: NDArray[np.uint8]


def masks(root: Path, taken: Input) -> Masks:
    """The training photos that have masks."""
    photos, labels = [], []
    for index, image in enumerate(json.loads((root / "instances_train.json").read_text())["images"]):
        file = root / "masks" / image["source"] / (Path(image["file_name"]).stem + ".png")
        if file.exists() and not file.stem.startswith(HELD_OUT):
            photos.append(index)
            labels.append(placed_mask(classes(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), image["source"]), taken))
    return Masks(np.array(photos), np.stack(labels))


def placed_mask(mask: NDArray[np.uint8], taken: Input) -> NDArray[np.uint8]:
    """[160,160] in the network's square, unknown outside the photo."""
    box = taken.box(mask.shape[1], mask.shape[0])
    square = np.full((taken.height, taken.width), UNKNOWN, np.uint8)
    content = cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_NEAREST)
    square[box.top : box.top + box.height, box.left : box.left + box.width] = content
    return square[:: taken.height // VIEW, :: taken.width // VIEW]


class MaskTask:
    """The head on uncoded features."""

    def __init__(self, pool: Cuts, known: Masks, model: MaskHead, batch: int, seed: int) -> None:
        self.pool, self.known, self.model, self.size, self.seed = pool, known, model, batch, seed
        sources = np.array([pool.sources[photo] for photo in known.photos])
        share = np.where(sources == "pennfudan", 1.0, 0.6)
        self.weights = share / share.sum()

    def batch(self, step: int, progress: float) -> Any:
        """Features and labels."""
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.weights), self.size, p=self.weights)
        mirrored = rng.integers(0, 2, self.size)
        features, _ = self.pool.seen(2 * self.known.photos[chosen] + mirrored)
        labels = self.known.labels[chosen].astype(np.int64)
        labels[mirrored == 1] = labels[mirrored == 1, :, ::-1]
        return features, torch.from_numpy(labels)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Cross entropy."""
        features, labels = batch
        weights = torch.tensor(WEIGHTS, device=features.device)
        return {"entropy": F.cross_entropy(self.model(features), labels, weights, ignore_index=UNKNOWN)}


def mask_head(pool: Cuts) -> MaskHead:
    """A head that knows the features' means and deviations."""
    sample = torch.from_numpy(pool.features[::50].astype(np.float32))
    head = MaskHead(tuple(pool.features.shape[1:]))
    head.mean.copy_(sample.mean((0, 2, 3))[:, None, None])
    head.size.copy_(sample.std((0, 2, 3))[:, None, None])
    return head
