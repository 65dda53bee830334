"""The tracker on objects whose ways are known."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tracking import Seen, State, as_values, from_values, step, tracker

SECOND = 1_000_000
Object = tuple[str, float, tuple[float, float, float, float]]


def seen(at_us: int, *objects: Object) -> Seen:
    labels, scores, boxes = zip(*objects, strict=True) if objects else ((), (), ())
    return Seen(at_us, np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(labels, np.str_))


def box(x: float, y: float = 100, side: float = 80) -> tuple[float, float, float, float]:
    return x, y, x + side, y + 2 * side


def ids(frames: Sequence[Seen], state: State | None = None, next_id: int = 1) -> list[list[int]]:
    state, told = state or State(), []
    for frame in frames:
        done = step(state, frame, next_id)
        state, next_id = done.state, done.next_id
        told.append(done.ids.tolist())
    return told


def test_an_id_comes_with_the_second_sight_and_stays() -> None:
    frames = [seen(i * 40_000, ("person", 0.9, box(100 + 5 * i)), ("person", 0.8, box(500 - 5 * i))) for i in range(20)]
    assert ids(frames) == [[0, 0], *[[1, 2]] * 19]


def test_two_who_cross_keep_their_ids() -> None:
    """At the meeting they are 10 pixels apart; only their velocities tell them from each other."""
    frames = [
        seen(i * 40_000, ("person", 0.9, box(100 + 8 * i, 100)), ("person", 0.9, box(420 - 8 * i, 150)))
        for i in range(41)
    ]
    assert ids(frames)[1:] == [[1, 2]] * 40


def test_a_faint_detection_holds_a_track_and_begins_none() -> None:
    strong = [seen(i * 40_000, ("person", 0.9, box(100))) for i in range(3)]
    faint = [seen((3 + i) * 40_000, ("person", 0.15, box(100)), ("person", 0.15, box(500))) for i in range(60)]
    assert ids(strong + faint)[2:] == [[1], *[[1, 0]] * 60]


@pytest.mark.parametrize(("score", "frames"), [(1.0, 2), (0.5, 2), (0.45, 3), (0.34, 3), (0.31, 4)])
def test_what_is_less_sure_is_certain_later(score: float, frames: int) -> None:
    told = ids([seen(i * 40_000, ("person", score, box(100))) for i in range(6)])
    assert [i for (i,) in told].count(0) == frames - 1 and told[-1] == [1]


def test_what_is_gone_before_it_is_certain_was_nothing() -> None:
    frames = [seen(i * 40_000, *[("person", 0.4, box(100))] * (i % 2 == 0)) for i in range(20)]
    assert {i for told in ids(frames) for i in told} == {0}


def test_sure_may_be_said_otherwise() -> None:
    state, told = State(), []
    for i in range(5):
        done = step(state, seen(i * 40_000, ("person", 0.45, box(100))), 1, sure=0.6)
        state = done.state
        told += done.ids.tolist()
    assert told == [0] * 5 and len(state) == 0


def test_below_faint_nothing_is_looked_at() -> None:
    frames = [seen(i * 40_000, ("person", tracker.FAINT - 0.01, box(100))) for i in range(5)]
    assert ids(frames) == [[0]] * 5


@pytest.mark.parametrize("rate", [2, 5, 25, 60])
def test_who_was_hidden_for_a_second_is_found_where_they_must_be(rate: int) -> None:
    """The pace is that of seconds, not of frames: after the gap they are 200 pixels further on."""
    way = [seen(round(i * SECOND / rate), ("person", 0.9, box(50 + 200 * i / rate))) for i in range(3 * rate)]
    hidden = range(2 * rate - rate, 2 * rate)
    frames = [seen(frame.at_us) if i in hidden else frame for i, frame in enumerate(way)]
    told = ids(frames)
    assert told[2 * rate :] == [[1]] * rate, told


def test_a_gap_without_frames_is_a_gap_in_time() -> None:
    before = [seen(i * 40_000, ("person", 0.9, box(50 + 8 * i))) for i in range(25)]
    after = [seen(SECOND + SECOND, ("person", 0.9, box(250 + 200)))]
    assert ids(before + after)[-1] == [1]


def test_who_comes_back_after_too_long_is_somebody_new() -> None:
    before = [seen(i * 40_000, ("person", 0.9, box(100))) for i in range(3)]
    gone = [seen(SECOND * i) for i in range(1, 5)]
    after = [seen(5 * SECOND + i * 40_000, ("person", 0.9, box(100))) for i in range(3)]
    assert ids(before + gone + after)[-3:] == [[0], [2], [2]]


def test_patience_has_a_limit_in_seconds_when_frames_are_rare() -> None:
    """A frame every three seconds: the track waits for frames. One after a minute: it does not."""
    rare = [seen(3 * SECOND * i, ("car", 0.9, box(100))) for i in range(4)]
    late = [seen(9 * SECOND + 60 * SECOND, ("car", 0.9, box(100)))]
    assert ids(rare + late) == [[0], [1], [1], [1], [0]]


def test_labels_keep_apart_what_overlaps() -> None:
    """A rider and the motorcycle: more than half of each is the other's."""
    frames = [
        seen(i * 40_000, ("person", 0.9, (100, 100, 160, 220)), ("motorcycle", 0.8, (95, 140, 165, 240)))
        for i in range(5)
    ]
    frames += [seen((5 + i) * 40_000, ("motorcycle", 0.8, (95, 140, 165, 240))) for i in range(3)]
    assert ids(frames)[1:] == [[1, 2]] * 4 + [[2]] * 3


def test_a_car_that_looks_like_a_truck_stays_itself() -> None:
    frames = [seen(i * 40_000, ("truck" if i == 5 else "car", 0.7, box(100))) for i in range(10)]
    assert ids(frames)[1:] == [[1]] * 9


def test_one_object_under_two_labels_is_one_track() -> None:
    frames = [seen(i * 40_000, ("car", 0.8, box(100)), ("truck", 0.6, box(101))) for i in range(10)]
    assert {i for told in ids(frames) for i in told} == {0, 1}


def test_a_clock_that_is_set_back_ends_nothing() -> None:
    frames = [seen(i * 40_000, ("person", 0.9, box(100))) for i in range(5)]
    frames += [seen(i * 40_000 - 3600 * SECOND, ("person", 0.9, box(100))) for i in range(5, 10)]
    frames += [seen(i * 40_000 - 3600 * SECOND) for i in range(10, 90)]
    frames += [seen(90 * 40_000 - 3600 * SECOND, ("person", 0.9, box(100)))]
    told = ids(frames)
    assert told[1:10] == [[1]] * 9
    assert told[-1] == [0], "what is not seen for three seconds after that is given up all the same"


@pytest.mark.parametrize("late_s", [1, 4, 25])
def test_a_frame_that_is_late_ends_nothing_and_moves_nothing(late_s: int) -> None:
    """They walk two thirds of their width a frame: where they are next depends on the time since the last on time."""
    walk = [seen(i * SECOND // 5, ("person", 0.9, box(100 + 50 * i))) for i in range(20)]
    late = seen(walk[9].at_us - late_s * SECOND)
    told = ids([*walk[:10], late, *walk[10:]])
    assert told == [[0], *[[1]] * 9, [], *[[1]] * 10]


def test_one_who_walks_on_after_the_clock_was_set_back_is_known() -> None:
    """The second frame is as far from the first as it says, and those after it follow the new clock."""
    walk = [seen(i * SECOND // 5 - 3600 * SECOND * (i > 9), ("person", 0.9, box(100 + 20 * i))) for i in range(20)]
    assert ids(walk) == [[0], *[[1]] * 19]
    back = seen(30 * SECOND - 3600 * SECOND, ("person", 0.9, box(480)))
    assert ids([*walk, back])[-1] == [0], "twenty-six seconds later they are somebody new"


def test_several_frames_of_one_moment_are_no_trouble() -> None:
    assert ids([seen(7, ("person", 0.9, box(100))) for _ in range(5)]) == [[0], *[[1]] * 4]


def test_a_state_has_a_bound() -> None:
    """Everything new in every frame."""
    rng, state, next_id = np.random.default_rng(1), State(), 1
    for i in range(30):
        many = [("person", 0.9, box(*rng.uniform(0, 100_000, 2), 20)) for _ in range(100)]
        twice = [seen(i * 40_000 + part, *many) for part in (0, 1)]
        for frame in twice:
            done = step(state, frame, next_id)
            state, next_id = done.state, done.next_id
    assert len(state) == tracker.MOST
    assert len(json.dumps(as_values(state))) < 100_000


boxes = st.tuples(*[st.floats(0, 2000)] * 4).map(
    lambda s: (min(s[0], s[2]), min(s[1], s[3]), max(s[::2]), max(s[1::2]))
)
objects = st.lists(st.tuples(st.sampled_from(["person", "car", "bus"]), st.floats(0, 1), boxes), max_size=6)
scenes = st.lists(st.tuples(st.integers(-SECOND, 5 * SECOND), objects), max_size=12)


@given(scenes, st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_laws_hold_whatever_comes(scene: list[tuple[int, list[Object]]], pause: int) -> None:
    """No id twice in a frame, none given twice, and a state that was written down goes on as if it had not been."""
    state, written, next_id, given_ids, at_us = State(), State(), 1, set(), 0
    for number, (passed, found) in enumerate(scene):
        at_us += passed
        frame = seen(at_us, *found)
        done = step(state, frame, next_id)
        if number == pause:
            written = from_values(json.loads(json.dumps(as_values(written))))
        again = step(written, frame, next_id)
        assert again.ids.tolist() == done.ids.tolist() and as_values(again.state) == as_values(done.state)
        own = [i for i in done.ids.tolist() if i]
        assert len(own) == len(set(own))
        assert all(i in given_ids or i >= next_id for i in own)
        given_ids |= set(own)
        assert np.isfinite(done.state.motion.place).all()
        state, written, next_id = done.state, again.state, done.next_id


def test_a_state_of_another_format_is_begun_anew() -> None:
    done = step(step(State(), seen(0, ("person", 0.9, box(1))), 1).state, seen(1, ("person", 0.9, box(1))), 1)
    assert len(from_values(as_values(done.state))) == 1
    assert len(from_values(as_values(done.state) | {"format": 0})) == 0


def test_a_state_from_before_late_frames_were_known_goes_on() -> None:
    done = step(step(State(), seen(0, ("person", 0.9, box(1))), 1).state, seen(1, ("person", 0.9, box(1))), 1)
    older = {name: value for name, value in as_values(done.state).items() if name != "late_us"}
    assert as_values(from_values(older)) == as_values(done.state)
