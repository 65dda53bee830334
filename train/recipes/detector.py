"""The embedded detector's recipe: what it is trained on and how, on top of `train.loop`."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from train.assign import Truth
from train.data import CLASSES, Batch, Photos, batch, data_root
from train.loop import Plan, Run, fit
from train.losses import detection
from train.nets.detector import Detector

SEED = 1
PHOTOS = 16
SIZES = (224, 256, 320)
CODED_FROM = 0.25
"""From this share of the run on, every other batch passes a coarse codec at the cut."""


class DetectorTask:
    """Sizes vary and mosaics abound until the rate starts to fall; then the input is as in use."""

    def __init__(self, photos: Photos, model: Detector) -> None:
        self.photos, self.model = photos, model

    def batch(self, step: int, progress: float) -> Batch:
        """Return the photos of `step`."""
        rng = np.random.default_rng((SEED, step))
        late = progress > 0.7
        mosaic = 0.6 if not late else 0.3 if progress < 0.9 else 0.0
        return batch(self.photos, rng, PHOTOS, 320 if late else int(rng.choice(SIZES)), mosaic)

    def loss(self, batch: Batch, step: int, progress: float) -> dict[str, Tensor]:
        """Return score, box and side-distribution losses."""
        image = torch.from_numpy(batch.pixels).permute(0, 3, 1, 2).float().div_(255)
        coded = progress > CODED_FROM and step % 2 == 0
        levels = int(torch.randint(3, 17, ())) if coded else None
        raw = self.model(image.contiguous(memory_format=torch.channels_last), levels)
        return detection(raw, truth_of(batch), self.model.classes, image.shape[-1])


def truth_of(batch: Batch) -> Truth:
    """Return the batch's boxes as tensors, those to be left alone apart."""
    rows = torch.from_numpy(batch.boxes)
    sure, rest = rows[rows[:, 6] > 0], rows[rows[:, 6] == 0]
    return Truth(
        *(sure[:, 0].long(), sure[:, 5].long(), sure[:, 1:5], sure[:, 6]),
        *(rest[:, 0].long(), rest[:, 5].long(), rest[:, 1:5]),
    )


def main(out: Path, steps: int, resume: bool = False, threads: int | None = None) -> Run:
    """Train into `out`; with `resume`, go on from its checkpoint, perhaps to another number of steps."""
    cv2.setNumThreads(1)  # the photos' thread must not compete with the network's
    torch.manual_seed(SEED)
    task = DetectorTask(Photos(data_root(), out.parent / "cache"), Detector(len(CLASSES)))
    return fit(task, Plan(steps, threads=threads), out, resume)
