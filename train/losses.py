"""The detector's loss: varifocal-style scores, generalised IoU and a distribution over each side's distance."""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.assign import Match, Truth, assign, ignored, overlap
from train.nets.detector import BINS, boxes_of, cells

GIOU = 2.0
DISTRIBUTION = 0.5


def detection(raw: Tensor, truth: Truth, classes: int, size: int) -> dict[str, Tensor]:
    """Return the weighted parts of the loss of raw predictions [N,A,classes+32] at input `size`."""
    raw = raw.float()
    centres, strides = cells(size)
    logits, sides = raw.split((classes, 4 * BINS), -1)
    boxes = boxes_of(sides, centres, strides)
    match = assign(logits.detach().sigmoid(), boxes.detach(), truth, size)
    mass = match.quality.sum().clamp(min=1)
    _, giou = overlap(boxes.flatten(0, 1)[match.cell], truth.box[match.truth])
    spread = distribution(sides, truth, match, centres, strides)
    return {
        "score": scores(logits, truth, match, centres) / mass,
        "giou": GIOU * (match.quality * (1 - giou)).sum() / mass,
        "sides": DISTRIBUTION * (match.quality * spread).sum() / mass,
    }


def scores(logits: Tensor, truth: Truth, match: Match, centres: Tensor) -> Tensor:
    """Return the summed score loss of logits [N,A,classes].

    Varifocal: a positive weighs as much as its quality, a negative 0.75 p^2, so that the many easy
    negatives stay quiet; cells in an ignored box weigh nothing unless they are positive.
    """
    photos, _, classes = logits.shape
    target = torch.zeros_like(logits)
    target.view(-1, classes)[match.cell, truth.label[match.truth]] = match.quality
    weight = 0.75 * logits.detach().sigmoid().square()
    weight = weight.masked_fill(ignored(truth, centres, photos, classes), 0)
    weight = torch.where(target > 0, target, weight)
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")


def distribution(sides: Tensor, truth: Truth, match: Match, centres: Tensor, strides: Tensor) -> Tensor:
    """Return each positive's cross entropy [P] with the two bins about the true distances, mean of four sides."""
    at = match.cell % len(centres)
    box, centre = truth.box[match.truth], centres[at]
    distance = torch.cat((centre - box[:, :2], box[:, 2:] - centre), 1) / strides[at, None]
    distance = distance.clamp(0, BINS - 1.01)
    low = distance.long()
    share = distance - low
    chance = sides.flatten(0, 1)[match.cell].unflatten(1, (4, BINS)).log_softmax(-1)
    below = chance.gather(2, low[..., None])[..., 0]
    above = chance.gather(2, low[..., None] + 1)[..., 0]
    return -(below * (1 - share) + above * share).mean(1)
