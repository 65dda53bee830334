"""Average precision: a case done by hand, pycocotools on made-up scenes, and the laws of re-drawn pictures."""

import contextlib
import io

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval")

from bench.score import Marks, Matches, average_precision
from common.geometry import Detections

CLASSES = 4


def seen(boxes, scores, labels):
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, int))


def scenes(seed, count=12, crowds=False, ties=True):
    """Marks, and detections that are some of them moved, some of them again, and some out of nowhere."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(count):
        corner = rng.integers(0, 200, (6, 2))
        boxes = np.concatenate((corner, corner + rng.integers(10, 90, (6, 2))), 1).astype(float)
        labels = rng.integers(0, CLASSES - 1, 6)  # the last class is nowhere marked
        truth.append(Marks(boxes, labels, rng.random(6) < 0.3 if crowds else np.zeros(0, bool)))
        again = np.concatenate([boxes[rng.integers(0, 6, 9)] + rng.normal(0, 4, (9, 4)), boxes[:2]])
        again[:, 2:] = np.maximum(again[:, 2:], again[:, :2] + 1)
        scores = rng.random(len(again))
        scores = np.round(scores, 1) if ties else scores
        order = np.argsort(-scores, kind="stable")
        found.append(seen(again[order], scores[order], rng.integers(0, CLASSES, len(again))))
    return truth, found


def test_a_case_by_hand():
    truth = [Marks(np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]]), np.array([0, 0]))]
    found = [seen([[0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 10]], [0.9, 0.8, 0.7], [0, 0, 0])]
    # Precision 1 up to recall .5 (51 of 101 recalls), then 2/3.
    ap50 = (51 + 50 * 2 / 3) / 101
    assert average_precision(truth, found, CLASSES) == pytest.approx((ap50, ap50))
    assert Matches(truth, found, CLASSES).average_precision()[0] == pytest.approx(ap50)


def test_nothing_found_and_nothing_marked():
    nothing, marks = [seen([], [], [])], [Marks(np.array([[0, 0, 9, 9.0]]), np.array([1]))]
    empty = [Marks(np.zeros((0, 4)), np.zeros(0, int))]
    for truth, found in ((marks, nothing), (empty, nothing), (empty, [seen([[0, 0, 9, 9]], [1], [0])])):
        assert average_precision(truth, found, CLASSES) == (0, 0)
        assert Matches(truth, found, CLASSES).average_precision().tolist() == [0]


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_pycocotools_and_the_matches_say_the_same(seed, crowds):
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth, found = scenes(seed, crowds=crowds)
    record = {"images": [{"id": i} for i in range(len(truth))], "categories": [{"id": c} for c in range(CLASSES)]}
    record["annotations"] = [
        {"id": 100 * i + n + 1, "image_id": i, "category_id": int(label), "iscrowd": int(crowd), **area(box)}
        for i, t in enumerate(truth)
        for n, (box, label, crowd) in enumerate(zip(t.boxes, t.labels, t.crowds, strict=True))
    ]
    results = [
        {"image_id": i, "category_id": int(label), "score": float(score), **area(box)}
        for i, f in enumerate(found)
        for box, score, label in zip(f.boxes, f.scores, f.labels, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = coco.COCO()
        known.dataset = record
        known.createIndex()
        scorer = COCOeval(known, known.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    assert average_precision(truth, found, CLASSES) == pytest.approx(tuple(scorer.stats[:2]))
    assert Matches(truth, found, CLASSES).average_precision()[0] == pytest.approx(scorer.stats[1])


def area(box):
    x1, y1, x2, y2 = map(float, box)
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


def test_copies_count_as_so_many_pictures():
    truth, found = scenes(7, ties=False)  # of equal scores, copies would change the order
    rng = np.random.default_rng(0)
    copies = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=8)
    drawn = Matches(truth, found, CLASSES).average_precision(copies)
    for counts, value in zip(copies, drawn, strict=True):
        picks = np.repeat(np.arange(len(truth)), counts)
        again = Matches([truth[p] for p in picks], [found[p] for p in picks], CLASSES).average_precision()[0]
        assert value == pytest.approx(again)


def test_a_class_that_is_not_drawn_does_not_count():
    one = Marks(np.array([[0, 0, 9, 9.0]]), np.array([0])), Marks(np.array([[0, 0, 9, 9.0]]), np.array([1]))
    found = [seen([[0, 0, 9, 9]], [0.5], [0]), seen([], [], [])]
    drawn = Matches(one, found, 2).average_precision(np.array([[1, 1], [2, 0], [0, 2]]))
    assert drawn.tolist() == [0.5, 1, 0]
