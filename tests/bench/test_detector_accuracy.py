"""Scoring: laws on made-up photos, and NanoDet-m's known accuracy where the photos are at hand."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval")

from bench.coco import LABELS, Photo, evaluate, letterbox, photos
from bench.score import Marks, agreement
from bench.settings import data_root
from common.geometry import Detections


def scene(count=8):
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        corner = rng.uniform(0, 300, (3, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(40, 200, (3, 2))), 1)
        found.append(Photo(Path(f"{number}.jpg"), 640, 480, Marks(boxes, np.array([0, 0, 2]))))
    return found


def seen(photo, shift=0.0, score=0.9):
    boxes = (photo.marks.boxes + shift).astype(np.float32)
    return Detections(boxes, np.full(len(boxes), score, np.float32), photo.marks.labels)


def test_finding_everything_is_1_and_nothing_is_0():
    truth = scene()
    result = evaluate(truth, [seen(p) for p in truth])
    assert result["ap50"] == result["person_ap50"] == 1
    assert result["per_class"] == {"person": 1, "car": 1}
    assert result["by_size"]["medium"] == result["by_size"]["large"] == 1
    assert result["n_images"] == 8
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert evaluate(truth, [none] * 8)["ap50"] == 0


def test_boxes_far_off_do_not_count():
    truth = scene()
    assert evaluate(truth, [seen(p, shift=300) for p in truth])["person_ap50"] < 0.05
    assert evaluate(truth, [seen(p, shift=2) for p in truth])["person_ap50"] == 1


def test_agreement_asks_for_the_sure_detections_only():
    truth = scene()
    sure = [seen(p) for p in truth]
    assert agreement(sure, sure, len(LABELS)) == 1
    assert agreement(sure, sure[:4] + [seen(p, 300) for p in truth[4:]], len(LABELS)) < 0.7
    unsure = [seen(p, score=0.2) for p in truth]
    assert agreement(unsure, sure, len(LABELS)) == 0


def test_letterbox_is_centred_on_grey():
    box = letterbox(np.full((100, 200, 3), 255, np.uint8))
    assert box.shape == (320, 320, 3)
    assert np.all(box[:80] == 114)
    assert np.all(box[80:240] == 255)
    assert np.all(box[240:] == 114)


def test_absent_photos_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("MIDSTREAM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MIDSTREAM_DATA"):
        photos()


def test_nanodet_is_as_accurate_as_known():
    onnxruntime = pytest.importorskip("onnxruntime")
    assert onnxruntime
    from bench.detector import measure
    from bench.networks import NanoDet

    try:
        weights = data_root() / "weights" / "nanodet_m_320.onnx"
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    result = measure(NanoDet(weights), photos(60))
    assert result["person_ap50"] == pytest.approx(0.6, abs=0.15)
