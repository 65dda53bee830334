"""The detection task: what a step sees, and what the teacher says about it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

from train.augment import Batch  # noqa: E402
from train.detection import DetectorTask, Schedule, truth_of  # noqa: E402
from train.losses import imitation  # noqa: E402
from train.nets.detector import Detector, cells  # noqa: E402
from train.teacher import Teacher, corner  # noqa: E402


class Grey:
    """A stand-in for the teacher's network: every cell's score is its place among the 2100."""

    def raw(self, image):
        place = np.arange(2100, dtype=np.float32)[:, None] / 2100
        return np.repeat(place, 8, 1), np.repeat(place, 32, 1)


@pytest.fixture
def teacher():
    made = Teacher.__new__(Teacher)
    made.net = Grey()
    return made


@pytest.mark.parametrize("size", [64, 224, 320])
def test_the_teachers_cells_are_ours(size):
    kept = corner(size)
    whole, ours = cells(320)[0], cells(size)[0]
    assert torch.equal(whole[torch.from_numpy(kept)], ours)


def test_a_lesson_has_the_teachers_view_of_every_picture(teacher):
    scores, sides = teacher(np.zeros((3, 64, 64, 3), np.uint8))
    assert scores.shape == (3, 84, 8)
    assert sides.shape == (3, 84, 32)
    assert (scores[0] == scores[2]).all()


def test_imitation_is_least_where_there_is_nothing_left_to_learn():
    torch.manual_seed(0)
    scores = torch.rand(2, 84, 8) ** 4
    sides = torch.randn(2, 84, 32)
    same = torch.cat((torch.logit(scores, 1e-6), sides), -1)
    other = same + torch.randn_like(same)
    right, wrong = (imitation(raw, scores, sides) for raw in (same, other))
    assert right["taught_sides"] == pytest.approx(0, abs=1e-5)
    assert wrong["taught_sides"] > 0.05
    assert right["taught_score"] < wrong["taught_score"]


def test_sizes_mosaics_and_coding_follow_the_progress():
    schedule, rng = Schedule(), np.random.default_rng(0)
    assert {schedule.size_at(0.1, rng) for _ in range(50)} == {224, 256, 320}
    assert {schedule.size_at(0.8, rng) for _ in range(50)} == {320}
    assert [schedule.mosaics_at(p) for p in (0, 0.8, 0.95)] == list(schedule.mosaics)
    assert schedule.levels_at(2, 0.1) is None
    assert schedule.levels_at(3, 0.9) is None
    assert {schedule.levels_at(2, 0.9) for _ in range(200)} == set(range(3, 17))


def test_boxes_without_trust_are_kept_apart():
    rows = np.array([[0, 1, 2, 3, 4, 5, 0.9], [1, 1, 2, 3, 4, 6, 0]], np.float32)
    truth = truth_of(Batch(np.zeros((2, 64, 64, 3), np.uint8), rows))
    assert truth.label.tolist() == [5]
    assert truth.box.tolist() == [[1, 2, 3, 4]]
    assert truth.ignore_photo.tolist() == [1]
    assert truth.ignore_label.tolist() == [6]


def test_a_step_is_judged_by_the_boxes_and_by_the_teacher(teacher, monkeypatch):
    drawn = Batch(np.zeros((1, 64, 64, 3), np.uint8), np.array([[0, 8, 8, 40, 40, 1, 1]], np.float32))
    monkeypatch.setattr("train.detection.batch", lambda *_: drawn)
    torch.manual_seed(0)
    task = DetectorTask(None, Detector(), Schedule(), 1, teacher)
    parts = task.loss(task.batch(4, 0.5), 4, 0.5)
    assert list(parts) == ["score", "giou", "sides", "taught_score", "taught_sides"]
    assert all(torch.isfinite(p) and p > 0 for p in parts.values())
