"""Letterbox and suppression."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.geometry import letterbox_geometry, nms, to_network, to_picture

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES)
def test_letterbox_fits_and_touches(width, height):
    box = letterbox_geometry(width, height)
    assert max(box.width, box.height) == 320
    assert min(box.width, box.height) >= 1
    for start, side in ((box.left, box.width), (box.top, box.height)):
        assert start >= 0
        assert 0 <= 320 - side - 2 * start <= 1


@given(SIDES, SIDES, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_come_back(width, height, fractions):
    box = letterbox_geometry(width, height)
    x, y = sorted(fractions[:2]), sorted(fractions[2:])
    marks = np.array([[x[0] * width, y[0] * height, x[1] * width, y[1] * height]])
    inside = to_network(marks, box)
    assert inside.min() >= 0
    assert inside.max() <= 320
    np.testing.assert_allclose(to_picture(inside, box), marks, atol=1e-6)


def test_boxes_are_cut_off_at_the_picture():
    box = letterbox_geometry(640, 320)
    assert to_picture(np.array([[-9.0, 0.0, 400.0, 400.0]]), box).tolist() == [[0, 0, 640, 320]]


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="0 x 5"):
        letterbox_geometry(0, 5)


def some(seed, count=300, classes=3):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 250, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(10, 70, (count, 2))), 1).astype(np.float32)
    return rng.uniform(0, 1, (count, classes)).astype(np.float32) ** 4, boxes


def iou(a, b):
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def plain_nms(scores, boxes, threshold, limit_iou):
    """The same, one box at a time."""
    pairs = [(-scores[a, c], a, c) for a, c in zip(*np.nonzero(scores >= threshold), strict=True)]
    kept = []
    for _, a, c in sorted(pairs):
        if all(c != other or iou(boxes[a], boxes[b]) <= limit_iou for b, other in kept):
            kept.append((a, c))
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_nms_equals_the_plain_one(seed):
    scores, boxes = some(seed)
    found = nms(scores, boxes, 0.1, 0.5, limit=10_000)
    expected = plain_nms(scores, boxes, 0.1, 0.5)
    assert [(float(scores[a, c]), c) for a, c in expected] == list(
        zip(found.scores.tolist(), found.labels.tolist(), strict=True)
    )
    np.testing.assert_array_equal(found.boxes, boxes[[a for a, _ in expected]])


def test_nms_is_idempotent_and_sorted():
    scores, boxes = some(9)
    found = nms(scores, boxes, 0.1, 0.5)
    assert np.all(np.diff(found.scores) <= 0)
    again = nms(np.eye(3, dtype=np.float32)[found.labels] * found.scores[:, None], found.boxes, 0.1, 0.5)
    np.testing.assert_array_equal(again.boxes, found.boxes)


def test_nms_keeps_its_limits():
    scores, boxes = some(5)
    assert len(nms(scores, boxes, 0.01, 0.9, limit=7).scores) == 7
    assert len(nms(scores, boxes, 2.0).scores) == 0
    assert nms(scores, boxes, 2.0).boxes.shape == (0, 4)
    assert nms(scores, boxes, 0.3).scores.min() >= 0.3


def test_equal_boxes_of_two_classes_both_stay():
    boxes = np.array([[0, 0, 10, 10]] * 2, np.float32)
    assert nms(np.array([[0.9, 0.0], [0.0, 0.8]], np.float32), boxes).labels.tolist() == [0, 1]
    assert nms(np.array([[0.9, 0.0], [0.8, 0.0]], np.float32), boxes).labels.tolist() == [0]
