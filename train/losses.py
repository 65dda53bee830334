"""The detector's loss: varifocal-style scores, generalised IoU and a distribution over each side's distance.

What counts as positive is decided in `train.assign`; only the score loss looks at all cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.assign import Match, Truth, assign, ignored, overlap
from train.nets.detector import BINS, boxes_of, cells

SURE = 0.1
"""Cells with a lower score in the teacher's eyes are background to it: they have no sides and no weight."""
GIOU = 2.0
DISTRIBUTION = 0.5


def detection(raw: Tensor, truth: Truth, classes: int, size: int) -> dict[str, Tensor]:
    """Return the weighted parts of the loss of raw predictions [N,A,classes+32] at input `size`."""
    centres, strides = (t.to(raw.device) for t in cells(size))
    logits, sides = raw.float().split((classes, 4 * BINS), -1)
    with torch.no_grad():
        match = assign(logits.sigmoid(), boxes_of(sides, centres, strides), truth, size)
    mass = match.quality.sum().clamp(min=1)
    # Gradients of the boxes only where there are any: a softmax over all cells costs a twentieth of a step.
    at, box = match.cell % len(centres), truth.box[match.truth]
    sides = sides.flatten(0, 1)[match.cell]
    giou = overlap(boxes_of(sides, centres[at], strides[at]), box)[1]
    spread = distribution(sides, box, centres[at], strides[at])
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


def distribution(sides: Tensor, box: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Return the cross entropy [P] of side logits [P,32] with the two bins about the distances to `box` [P,4]."""
    distance = torch.cat((centres - box[:, :2], box[:, 2:] - centres), 1) / strides[:, None]
    distance = distance.clamp(0, BINS - 1.01)
    low = distance.long()
    share = distance - low
    chance = sides.unflatten(1, (4, BINS)).log_softmax(-1)
    below = chance.gather(2, low[..., None])[..., 0]
    above = chance.gather(2, low[..., None] + 1)[..., 0]
    return -(below * (1 - share) + above * share).mean(1)


def imitation(raw: Tensor, scores: Tensor, sides: Tensor) -> dict[str, Tensor]:
    """Return the weighted parts of the loss of raw predictions [N,A,classes+32] against a teacher's.

    The teacher has the same cells and bins: `scores` [N,A,classes] in 0..1 and side logits `sides` [N,A,32].
    """
    logits, ours = raw.float().split((scores.shape[-1], 4 * BINS), -1)
    best = scores.amax(-1)
    sure = best > SURE
    mass = best[sure].sum().clamp(min=1)
    weight = torch.maximum(scores, 0.75 * logits.detach().sigmoid().square())
    score = F.binary_cross_entropy_with_logits(logits, scores, weight, reduction="sum")
    theirs, ours = (s[sure].unflatten(1, (4, BINS)).log_softmax(-1) for s in (sides, ours))
    apart = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1).mean(-1)
    return {"taught_score": score / mass, "taught_sides": (best[sure] * apart).sum() / mass}
