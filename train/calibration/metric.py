"""What the detector looks at: gradients of its own outputs at the cut, for random mixtures of outputs.

The expected outer product of such gradients is the metric in which an error at the cut costs what it does to the
outputs: scores, and box edges in units of the box's size, weighted by its score. No labels are needed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.geometry import iou_matrix

Half = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""The back half: tensors [1, ...] to scores [1, A, L] in 0..1 and boxes [1, A, 4] in network pixels."""
Features = NDArray[np.float32]
Objective = Callable[[Tensor, Tensor], Tensor]
"""Scores and boxes to the number whose gradient is asked for."""

SMALLEST = 4.0
"""Network pixels: smaller boxes count as of this size."""


def gradients(half: Half, features: Sequence[Features], objectives: Sequence[Objective]) -> Iterator[list[Features]]:
    """For each objective the gradient at the cut of one picture, tensor by tensor; zeros where there is none."""
    cut = [torch.tensor(tensor[None], requires_grad=True) for tensor in features]
    scores, boxes = (out[0] for out in half(cut))
    for objective in objectives:
        value = objective(scores, boxes)
        if not value.requires_grad:  # the network found nothing to speak of
            yield [np.zeros_like(tensor) for tensor in features]
            continue
        found = torch.autograd.grad(value, cut, retain_graph=True, allow_unused=True)
        yield [np.zeros_like(f) if g is None else g[0].numpy() for f, g in zip(features, found, strict=True)]


def mixture(random: torch.Generator) -> Objective:
    """A random mixture of all outputs, another one at every call."""

    def value(scores: Tensor, boxes: Tensor) -> Tensor:
        sure = scores.detach().amax(1, keepdim=True)
        size = (boxes.detach()[:, 2:] - boxes.detach()[:, :2]).clamp(min=SMALLEST)
        edges = boxes / torch.cat([size, size], 1) * sure
        return (scores * _noise(scores, random)).sum() + (edges * _noise(edges, random)).sum()

    return value


def loss(marked: NDArray[np.floating], labels: NDArray[np.int64], nearest: int = 5) -> Objective:
    """The detector's loss on marked boxes [M, 4] in network pixels: the alternative that needs labels.

    Each box is expected of the `nearest` outputs that fit it best, of the others silence.
    """

    def value(scores: Tensor, boxes: Tensor) -> Tensor:
        target = torch.zeros_like(scores)
        total = scores.sum() * 0
        if len(marked) and len(boxes):
            overlap = torch.from_numpy(iou_matrix(marked.astype(np.float32), boxes.detach().numpy()))
            best, at = overlap.topk(min(nearest, overlap.shape[1]), dim=1)
            for box, label, iou, places in zip(marked, labels, best, at, strict=True):
                target[places, int(label)] = torch.maximum(target[places, int(label)], iou)
                size = float(max(SMALLEST, min(box[2] - box[0], box[3] - box[1])))
                wanted = torch.from_numpy(box.astype(np.float32))
                total = total + ((boxes[places] - wanted).abs().mean(1) * iou / size).sum()
        known = scores.clamp(1e-4, 1 - 1e-4)
        return total + torch.nn.functional.binary_cross_entropy(known, target, reduction="sum")

    return value


def _noise(like: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=random)
