"""The laws of assignment and of the losses built on it."""

import pytest

torch = pytest.importorskip("torch")

from train.assign import KEEP, Truth, assign, candidates, ignored, overlap  # noqa: E402
from train.losses import detection  # noqa: E402
from train.nets.detector import BINS, boxes_of, cells  # noqa: E402

SIZE = 64


def truth(boxes, labels=None, photo=None, ignore=()):
    count = len(boxes)
    ignore = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return Truth(
        photo=torch.tensor(photo or [0] * count, dtype=torch.long),
        label=torch.tensor(labels or [0] * count, dtype=torch.long),
        box=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        trust=torch.ones(count),
        ignore_photo=torch.zeros(len(ignore), dtype=torch.long),
        ignore_label=torch.zeros(len(ignore), dtype=torch.long),
        ignore_box=ignore,
    )


def blank(photos=1, classes=3):
    """Scores and boxes of a network that has learned nothing."""
    centres, strides = cells(SIZE)
    boxes = boxes_of(torch.zeros(photos, len(centres), 4 * BINS), centres, strides)
    return torch.full((photos, len(centres), classes), 0.01), boxes


def test_every_box_gets_a_cell_however_small():
    torch.manual_seed(0)
    corner = torch.rand(40, 2) * 60
    boxes = torch.cat((corner, corner + 1 + torch.rand(40, 2) * 3), 1)
    score, predicted = blank(photos=40)
    match = assign(score, predicted, truth(boxes.tolist(), photo=list(range(40))), SIZE)
    assert set(match.truth.tolist()) == set(range(40))


def test_cells_lie_in_their_box_and_number_at_most_ten():
    wanted = truth([[8, 8, 40, 44], [44, 8, 62, 60]])
    match = assign(*blank(), wanted, SIZE)
    centres, _ = cells(SIZE)
    box, at = wanted.box[match.truth], centres[match.cell]
    assert torch.all((at > box[:, :2]) & (at < box[:, 2:]))
    assert torch.all(torch.bincount(match.truth) <= KEEP)
    assert torch.all(match.quality <= 1)


def test_a_cell_answers_for_one_box_only():
    match = assign(*blank(), truth([[8, 8, 40, 40], [12, 12, 44, 44], [10, 6, 30, 50]]), SIZE)
    assert len(torch.unique(match.cell)) == len(match.cell)


def test_boxes_of_one_photo_take_no_cells_of_another():
    match = assign(*blank(photos=2), truth([[8, 8, 40, 40], [8, 8, 40, 40]], photo=[0, 1]), SIZE)
    count = len(cells(SIZE)[0])
    assert torch.equal(match.cell // count, match.truth)


def test_the_best_cell_has_the_quality_of_its_overlap():
    wanted = truth([[8, 8, 40, 40]])
    score, boxes = blank()
    match = assign(score, boxes, wanted, SIZE)
    iou, _ = overlap(boxes[0, match.cell], wanted.box[match.truth])
    assert torch.isclose(match.quality.max(), iou.max())


def test_candidates_stay_on_the_grid():
    near, allowed = candidates(torch.tensor([[-20.0, -20.0, 5.0, 5.0], [60.0, 60.0, 90.0, 90.0]]), SIZE)
    assert near.min() >= 0
    assert near.max() < len(cells(SIZE)[0])
    assert allowed.any(1).all()


def test_overlap_of_equal_and_of_distant_boxes():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert [v.item() for v in overlap(box, box)] == [1, 1]
    iou, giou = overlap(box, box + 90)
    assert iou.item() == 0
    assert giou.item() == pytest.approx(-0.98)


def test_ignored_cells_are_those_in_the_box_of_that_class():
    centres, _ = cells(SIZE)
    mask = ignored(truth([], ignore=[[0, 0, 32, 64]]), centres, 2, 3)
    assert torch.equal(mask[0, :, 0], centres[:, 0] < 32)
    assert not mask[1].any()
    assert not mask[:, :, 1:].any()


def test_nothing_to_find_is_no_error():
    raw = torch.zeros(1, len(cells(SIZE)[0]), 3 + 4 * BINS, requires_grad=True)
    parts = detection(raw, truth([]), 3, SIZE)
    assert parts["giou"] == 0
    assert parts["score"] > 0
    sum(parts.values()).backward()
    assert torch.isfinite(raw.grad).all()


def test_descent_on_the_raw_predictions_finds_the_boxes():
    wanted = truth([[8, 8, 40, 40], [30, 20, 60, 62]], labels=[1, 2])
    centres, strides = cells(SIZE)
    raw = torch.zeros(1, len(centres), 3 + 4 * BINS)
    raw[..., :3] = -4.6
    raw.requires_grad_()
    optimiser = torch.optim.Adam([raw], 0.4)
    for _ in range(60):
        optimiser.zero_grad()
        sum(detection(raw, wanted, 3, SIZE).values()).backward()
        optimiser.step()
    boxes = boxes_of(raw[0, :, 3:], centres, strides)
    for label, box in zip(wanted.label, wanted.box, strict=True):
        best = raw[0, :, label].argmax()
        assert raw[0, best, label].sigmoid() > 0.8
        assert overlap(boxes[best], box)[0] > 0.9
