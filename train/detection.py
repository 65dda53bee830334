"""The detection task: what `train.loop` needs to train the embedded detector."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.assign import Truth
from train.augment import Batch, batch
from train.losses import detection, imitation
from train.nets.detector import Detector
from train.photos import Photos
from train.teacher import Teacher


@dataclass(frozen=True)
class Schedule:
    """What a step sees, by the run's progress from 0 to 1."""

    photos: int = 16
    sizes: tuple[int, ...] = (224, 256, 320)
    final_from: float = 0.7
    """From here on the input has the last of `sizes` only, and few mosaics."""
    plain_from: float = 0.9
    """From here on there are no mosaics: what is learned last is what will be seen."""
    mosaics: tuple[float, float, float] = (0.5, 0.25, 0.0)
    coded_from: float = 0.4
    """From here on every even batch passes a coarse codec at the cut."""
    levels: tuple[int, int] = (3, 16)

    def size_at(self, progress: float, rng: np.random.Generator) -> int:
        """Return the side of a step's input in pixels."""
        return int(rng.choice(self.sizes)) if progress < self.final_from else self.sizes[-1]

    def mosaics_at(self, progress: float) -> float:
        """Return the share of mosaics in a step's batch."""
        return self.mosaics[(progress >= self.final_from) + (progress >= self.plain_from)]

    def levels_at(self, step: int, progress: float) -> int | None:
        """Return how many levels a step's cut is quantised to, None for not at all."""
        if progress < self.coded_from or step % 2:
            return None
        return int(torch.randint(self.levels[0], self.levels[1] + 1, ()))


@dataclass(frozen=True)
class Lesson:
    """A batch and what the teacher saw in it: scores [N,A,classes] and side logits [N,A,32]."""

    batch: Batch
    taught: tuple[NDArray[np.float32], NDArray[np.float32]]


class DetectorTask:
    """Photos in, losses out. The batch of a step depends on the seed and the step's number alone."""

    def __init__(self, photos: Photos, model: Detector, schedule: Schedule, seed: int, teacher: Teacher) -> None:
        self.photos, self.model, self.schedule, self.seed, self.teacher = photos, model, schedule, seed, teacher

    def batch(self, step: int, progress: float) -> Lesson:
        """Return the photos of `step`."""
        rng = np.random.default_rng((self.seed, step))
        size = self.schedule.size_at(progress, rng)
        drawn = batch(self.photos, rng, self.schedule.photos, size, self.schedule.mosaics_at(progress))
        return Lesson(drawn, self.teacher(drawn.pixels))

    def loss(self, lesson: Lesson, step: int, progress: float) -> dict[str, Tensor]:
        """Return the losses against the boxes and against what the teacher saw."""
        device = next(self.model.parameters()).device
        image = torch.from_numpy(lesson.batch.pixels).to(device).permute(0, 3, 1, 2).float().div_(255)
        raw = self.model(image, self.schedule.levels_at(step, progress))
        parts = detection(raw, truth_of(lesson.batch, device), self.model.classes, image.shape[-1])
        return parts | imitation(raw, *(torch.from_numpy(t).to(device) for t in lesson.taught))


def truth_of(batch: Batch, device: torch.device | str = "cpu") -> Truth:
    """Return the batch's boxes as tensors, those to be left alone apart."""
    rows = torch.from_numpy(batch.boxes).to(device)
    sure, rest = rows[rows[:, 6] > 0], rows[rows[:, 6] == 0]
    return Truth(
        *(sure[:, 0].long(), sure[:, 5].long(), sure[:, 1:5], sure[:, 6]),
        *(rest[:, 0].long(), rest[:, 5].long(), rest[:, 1:5]),
    )
