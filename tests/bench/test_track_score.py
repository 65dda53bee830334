"""Tracking scores: the reference's figures on real tracks, and laws."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.settings import MissingDataError, data_root
from bench.track.score import Boxes, counts
from tests.bench import kitti

# TrackEval 1.3.0 on the same files, class car: HOTA, DetA, AssA, MOTA, MOTP, IDF1.
REFERENCE = {
    "0003": (0.45775623, 0.49867936, 0.42086319, 0.60479042, 0.78987719, 0.60142349),
    "0005": (0.46928720, 0.44473391, 0.49867748, 0.50913621, 0.82494717, 0.62663185),
    "0008": (0.60560445, 0.59921269, 0.61386213, 0.72023810, 0.82909168, 0.80909091),
    "0010": (0.70406912, 0.62808490, 0.79133173, 0.72931034, 0.86513473, 0.84378109),
    "0014": (0.41708385, 0.35478740, 0.49717907, 0.51338200, 0.68670362, 0.62757528),
    "0018": (0.70422921, 0.67917392, 0.73293788, 0.79132570, 0.85238398, 0.86735150),
}
ALL = (0.59310150, 0.55321584, 0.64081667, 0.66022274, 0.82792952, 0.75788955)


@pytest.fixture(scope="module")
def root() -> Path:
    try:
        folder = data_root() / "tracking" / "kitti"
    except MissingDataError as e:
        pytest.skip(str(e))
    if not folder.is_dir():
        pytest.skip("no KITTI tracks: tracking/kitti of the data")
    return folder


def test_scores_are_the_references(root: Path) -> None:
    total = None
    for name, wanted in REFERENCE.items():
        own = counts(*kitti.sequence(root, name))
        total = own if total is None else total + own
        s = own.scores()
        assert (s.hota, s.detection, s.association, s.mota, s.motp, s.idf1) == pytest.approx(wanted, abs=1e-7), name
    assert total is not None
    s = total.scores()
    assert (s.hota, s.detection, s.association, s.mota, s.motp, s.idf1) == pytest.approx(ALL, abs=1e-7)
    assert (s.missed, s.wrong, s.switches) == (1498, 92, 27)


def walk(frames: int = 12, objects: int = 4, seed: int = 0) -> list[Boxes]:
    rng = np.random.default_rng(seed)
    start, pace = rng.uniform(0, 800, (objects, 2)), rng.normal(0, 8, (objects, 2))
    size = rng.uniform(30, 60, (objects, 2))
    corners = [start + pace * t for t in range(frames)]
    return [Boxes(np.hstack([c, c + size]), np.arange(objects)) for c in corners]


def test_truth_against_itself_is_right() -> None:
    s = counts(walk(), walk()).scores()
    assert (s.mota, s.motp, s.idf1, s.hota, s.detection, s.association) == pytest.approx((1,) * 6)
    assert (s.missed, s.wrong, s.switches) == (0, 0, 0)


@given(st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_what_identities_are_called_is_no_matter(order: list[int]) -> None:
    renamed = [Boxes(boxes.boxes, np.array(order)[boxes.ids] + 70) for boxes in walk()]
    assert counts(walk(), renamed).scores() == counts(walk(), walk()).scores()


def test_identities_mixed_up_cost_association_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    mixed = [Boxes(boxes.boxes, rng.permutation(4)) for boxes in walk()]
    s, right = counts(walk(), mixed).scores(), counts(walk(), walk()).scores()
    assert (s.missed, s.wrong, s.detection, s.motp) == (0, 0, right.detection, right.motp)
    assert s.switches > 0 and s.mota < 1 and s.idf1 < 0.7 and s.association < 0.7 and s.hota < 1


def test_one_switch_is_counted_once() -> None:
    half = [Boxes(b.boxes, b.ids + 10 * (t >= 6) * (b.ids == 2)) for t, b in enumerate(walk())]
    s = counts(walk(), half).scores()
    assert (s.switches, s.missed, s.wrong) == (1, 0, 0)
    assert s.idf1 == pytest.approx(1 - 6 / 48)


def test_missed_and_wrong_are_told_apart() -> None:
    truth = walk()
    fewer = [Boxes(b.boxes[1:], b.ids[1:]) for b in truth]
    missed, wrong = counts(truth, fewer).scores(), counts(fewer, truth).scores()
    assert (missed.missed, missed.wrong, missed.mota) == (12, 0, 0.75)
    assert (wrong.missed, wrong.wrong, wrong.mota) == (0, 12, pytest.approx(1 - 12 / 36))


def test_nothing_is_no_error() -> None:
    none = [Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))] * 12
    assert counts(none, none).scores().hota == 0
    assert counts(walk(), none).scores().missed == 48
    assert counts(none, walk()).scores().wrong == 48
    assert counts([], []).scores().mota == 0


def test_counts_add_up_to_one_long_sequence() -> None:
    first, second = walk(seed=1), walk(seed=2)
    moved = [Boxes(b.boxes + 9, b.ids) for b in second]
    renamed = [[Boxes(b.boxes, b.ids + 50) for b in part] for part in (second, moved)]
    together = counts(first + renamed[0], first + renamed[1]).scores()
    added = (counts(first, first) + counts(second, moved)).scores()
    assert added.hota == pytest.approx(together.hota) and added.idf1 == pytest.approx(together.idf1)
    assert added.mota == pytest.approx(together.mota)
