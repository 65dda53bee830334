"""Augmentation keeps boxes on their objects, and a batch depends on its step alone."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from train.augment import batch, move, warp  # noqa: E402
from train.photos import LONG_SIDE, Photos, cached_size, weight  # noqa: E402


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six pictures of one bright rectangle each, that the box marks exactly."""
    root = tmp_path_factory.mktemp("photos")
    images, marks = [], []
    for number in range(6):
        w, h = 300 + 90 * number, 240
        x, y, bw, bh = 40 + 10 * number, 60, 90, 80
        picture = np.zeros((h, w, 3), np.uint8)
        picture[y : y + bh, x : x + bw] = 255
        cv2.imwrite(str(root / f"{number}.png"), picture)
        source = "pennfudan" if number == 5 else "street"
        images.append({"id": number, "file_name": f"{number}.png", "width": w, "height": h, "source": source})
        marks.append({"image_id": number, "category_id": 2 if number == 0 else 1, "bbox": [x, y, bw, bh]})
    marks.append({"image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20], "score": 0.2})
    marks.append({"image_id": 1, "category_id": 44, "bbox": [0, 0, 20, 20]})
    (root / "instances_train.json").write_text(json.dumps({"images": images, "annotations": marks}))
    return Photos(root, root / "cache")


def test_boxes_trust_and_weights(photos):
    assert photos[0].boxes.shape == (1, 6)
    assert photos[1].boxes[:, 4:].tolist() == [[0, 1], [2, 0]]
    assert sorted(photos[5].boxes[1:, 4]) == [1, 2, 3, 4, 5, 6, 7]
    assert photos.weights[0] == pytest.approx(2.5 * photos.weights[1])
    assert weight(np.zeros((0, 6), np.float32)) == 0.4


def test_cache_is_small_and_faithful(photos):
    assert photos[5].pixels.shape[1] == LONG_SIDE
    assert cached_size(100, 50) == (100, 50)
    x1, y1, x2, y2 = photos[5].boxes[0, :4].round().astype(int)
    assert photos[5].pixels[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].min() > 200


@pytest.mark.parametrize("placing", [(0.7, 0.8, 10.3, 5.5), (-0.7, 0.6, 230.2, 20.0), (0.3, 0.35, 4.0, 4.0)])
def test_warped_boxes_follow_their_object(photos, placing):
    photo = photos[0]
    drawn = warp(photo.pixels, placing, 240, 200)
    x1, y1, x2, y2 = move(photo.boxes, placing, 240, 200)[0, :4]
    rows, columns = np.nonzero(drawn[..., 0] > 128)
    np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x1, y1, x2, y2], atol=1)


def test_what_hardly_shows_is_left_alone_or_dropped():
    boxes = np.array([[0, 0, 100, 100, 0, 1]], np.float32)
    assert move(boxes, (1, 1, -50, 0), 200, 200)[0, 5] == 1
    assert move(boxes, (1, 1, -80, 0), 200, 200)[0, 5] == 0
    assert len(move(boxes, (1, 1, -99, 0), 200, 200)) == 0


def test_a_batch_depends_on_its_seed_alone(photos):
    one, two, other = (batch(photos, np.random.default_rng(seed), 4, 64, 0.5) for seed in (1, 1, 2))
    assert np.array_equal(one.pixels, two.pixels)
    assert np.array_equal(one.boxes, two.boxes)
    assert not np.array_equal(one.pixels, other.pixels)


def test_boxes_stay_in_the_picture(photos):
    boxes = batch(photos, np.random.default_rng(3), 16, 64, 0.5).boxes
    assert boxes[:, 1:5].min() >= 0
    assert boxes[:, 1:5].max() <= 64
    assert (boxes[:, 3] > boxes[:, 1]).all()
    assert set(boxes[:, 0]) <= set(range(16))
