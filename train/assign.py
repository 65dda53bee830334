"""Task-aligned assignment: which cells answer for which box, and how good an answer counts as right.

Boxes are x1, y1, x2, y2 in network pixels. A box's candidates are the 5x5 cells about its centre at each
stride whose centre lies inside it (and always the finest cell that holds its centre, so that no box is
lost for being small); of these the ten with the best score^0.5 * IoU^6 learn it. The loss is in `train.losses`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.nets.detector import STRIDES

REACH = 2
KEEP = 10


@dataclass(frozen=True)
class Truth:
    """The boxes of a batch, all photos in one list of T, and the I boxes to be left alone."""

    photo: Tensor
    """[T] index of the photo in the batch."""
    label: Tensor
    """[T] class index."""
    box: Tensor
    """[T,4]."""
    trust: Tensor
    """[T] in 0..1: 1 for a human's box, the root of the score for a teacher's."""
    ignore_photo: Tensor
    ignore_label: Tensor
    ignore_box: Tensor


@dataclass(frozen=True)
class Match:
    """P positive cells: `cell` [P] indexes the flattened [N*A] cells, `truth` [P] the boxes, `quality` [P]."""

    cell: Tensor
    truth: Tensor
    quality: Tensor


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes [...,4], pair by pair."""
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    union = area_a + area_b - common
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def candidates(box: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return cells [T,75] near the centres of `box` [T,4], and whether each [T,75] may answer for its box."""
    line = torch.arange(-REACH, REACH + 1, device=box.device)
    dy, dx = (d.reshape(-1) for d in torch.meshgrid(line, line, indexing="ij"))
    home = (dx == 0) & (dy == 0)
    middle = (box[:, :2] + box[:, 2:]) / 2
    cells, allowed, start = [], [], 0
    for stride in STRIDES:
        side = size // stride
        cell = (middle / stride).long().clamp(0, side - 1)
        x, y = cell[:, :1] + dx, cell[:, 1:] + dy
        px, py = (x + 0.5) * stride, (y + 0.5) * stride
        inside = (px > box[:, 0:1]) & (px < box[:, 2:3]) & (py > box[:, 1:2]) & (py < box[:, 3:4])
        on_grid = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        allowed.append((inside | (home & (stride == STRIDES[0]))) & on_grid)
        cells.append(start + y.clamp(0, side - 1) * side + x.clamp(0, side - 1))
        start += side * side
    return torch.cat(cells, 1), torch.cat(allowed, 1)


@torch.no_grad()
def assign(score: Tensor, boxes: Tensor, truth: Truth, size: int) -> Match:
    """Match cells to boxes, given class probabilities [N,A,classes] and predicted boxes [N,A,4].

    A cell wanted by several boxes goes to the one it overlaps best. A cell's quality is its alignment,
    scaled so that each box's best cell reaches the box's best IoU, times the trust in the box.
    """
    near, allowed = candidates(truth.box, size)
    flat = near + truth.photo[:, None] * score.shape[1]
    iou, _ = overlap(boxes.flatten(0, 1)[flat], truth.box[:, None])
    probability = score.flatten(0, 1)[flat, truth.label[:, None]]
    align = (probability.sqrt() * iou.pow(6)).masked_fill(~allowed, -1)
    best, pick = align.topk(KEEP, 1)
    row, column = (best >= 0).nonzero(as_tuple=True)
    pick = pick[row, column]
    cell, align, iou = flat[row, pick], best[row, column], iou[row, pick]

    count = len(truth.box)
    top_align = align.new_zeros(count).scatter_reduce(0, row, align, "amax")
    top_iou = align.new_zeros(count).scatter_reduce(0, row, iou, "amax")
    quality = align / top_align[row].clamp(min=1e-12) * top_iou[row] * truth.trust[row]
    won = _winners(cell, row, iou, score.shape[0] * score.shape[1])
    return Match(cell[won], row[won], quality[won])


def _winners(cell: Tensor, row: Tensor, iou: Tensor, cells: int) -> Tensor:
    """Return which of the P claims a cell grants: that of the best overlap, between equals of the first box."""
    best = iou.new_zeros(cells).scatter_reduce(0, cell, iou, "amax")
    won = iou >= best[cell]
    first = row.new_full((cells,), torch.iinfo(row.dtype).max).scatter_reduce(0, cell[won], row[won], "amin")
    return won & (row == first[cell])


def ignored(truth: Truth, centres: Tensor, photos: int, classes: int) -> Tensor:
    """Return a mask [N,A,classes] of the cells whose centre lies in a box to be left alone, for its class."""
    box, x, y = truth.ignore_box, centres[:, 0], centres[:, 1]
    inside = (x > box[:, 0:1]) & (x < box[:, 2:3]) & (y > box[:, 1:2]) & (y < box[:, 3:4])
    mask = torch.zeros(photos, classes, len(centres), device=centres.device)
    mask.index_put_((truth.ignore_photo, truth.ignore_label), inside.float(), accumulate=True)
    return (mask > 0).transpose(1, 2)
