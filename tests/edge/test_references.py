"""Which frame the next one is coded after."""

import numpy as np

from common.codec import State
from common.codec.temporal import tables_name
from edge.references import CAMERAS, MAX_AGE_S, WAITING, After, References

MEMORY = tables_name() + b"12345678"
BUNDLE = b"abcd"


def state(number: int = 0) -> State:
    return State.of(number, None, np.zeros(3, np.int32))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def references(period: int = 0, enabled: bool = True) -> tuple[References, Clock]:
    clock = Clock()
    found = References(enabled, period, clock)
    found.welcome(MEMORY)
    return found, clock


def test_only_where_it_is_on_and_the_cloud_has_the_same_tables() -> None:
    assert references()[0].next("door", BUNDLE) == After(None, True)
    assert references(enabled=False)[0].next("door", BUNDLE) is None
    for memory in (b"", b"oldtables123"):
        found = References(True, 0)
        assert found.next("door", BUNDLE) is None
        found.welcome(memory)
        assert found.next("door", BUNDLE) is None


def test_the_newest_that_was_acked_and_no_other() -> None:
    found, _ = references()
    states = [state(i) for i in range(4)]
    for i, one in enumerate(states):
        assert found.next("door", BUNDLE) == After(None, True)
        found.coded("door", f"f{i}", BUNDLE, one)
    found.acked("f1")
    assert found.next("door", BUNDLE) == After(states[1], True)
    found.acked("f0")  # late: nothing goes back
    assert found.next("door", BUNDLE) == After(states[1], True)
    found.ended("f2")
    found.acked("f3")
    assert found.next("door", BUNDLE) == After(states[3], True)
    assert found.next("yard", BUNDLE) == After(None, True)


def test_what_the_cloud_refused_is_nobody_s_reference() -> None:
    found, _ = references()
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, state())
    found.ended("f0")
    found.acked("f0")
    assert found.next("door", BUNDLE) == After(None, True)


def test_a_cloud_with_another_memory_and_another_bundle_begin_anew() -> None:
    found, _ = references()
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, one := state())
    found.acked("f0")
    found.welcome(MEMORY)
    assert found.next("door", BUNDLE) == After(one, True)
    assert found.next("door", b"efgh") == After(None, True)
    found.coded("door", "f1", b"efgh", state())
    found.welcome(tables_name() + b"87654321")
    found.acked("f1")
    assert found.next("door", b"efgh") == After(None, True)


def test_one_in_so_many_is_coded_alone() -> None:
    found, _ = references(period=4)
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, state())
    found.acked("f0")
    alone = [found.next("door", BUNDLE).before is None for _ in range(12)]  # type: ignore[union-attr]
    assert alone == [False, False, False, True] * 3


def test_old_references_are_not_used_and_unanswered_ones_let_go() -> None:
    found, clock = references()
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, state())
    found.acked("f0")
    for i in range(WAITING):
        found.coded("door", f"g{i}", BUNDLE, state())
    assert not found.next("door", BUNDLE).keep  # type: ignore[union-attr]
    clock.now = MAX_AGE_S + 1
    assert found.next("door", BUNDLE) == After(None, True)


def test_cameras_are_bounded() -> None:
    found, _ = references()
    for i in range(CAMERAS + 10):
        found.next(f"c{i}", BUNDLE)
        found.coded(f"c{i}", f"f{i}", BUNDLE, state(i))
    found.acked("f0")
    assert found.next("c0", BUNDLE) == After(None, True)
    found.acked(f"f{CAMERAS}")
    newest = found.next(f"c{CAMERAS}", BUNDLE)
    assert newest is not None and newest.before is not None


def test_what_the_cloud_lost_is_not_referred_to_again() -> None:
    found, _ = references()
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, state())
    found.acked("f0")
    found.coded("door", "f1", BUNDLE, later := state(1))
    found.lost("door")
    found.lost("yard")  # of a camera that is not known
    assert found.next("door", BUNDLE) == After(None, True)
    found.acked("f1")
    assert found.next("door", BUNDLE) == After(later, True)


def test_while_the_cloud_is_away_frames_are_coded_alone() -> None:
    """They may wait for days, and what they would be coded after is held for minutes."""
    found, _ = references()
    found.next("door", BUNDLE)
    found.coded("door", "f0", BUNDLE, one := state())
    found.acked("f0")
    found.coded("door", "f1", BUNDLE, state(1))
    found.away()
    assert found.next("door", BUNDLE) is None
    found.welcome(MEMORY)
    found.acked("f1")  # it may have been coded anew meanwhile, and left nothing
    assert found.next("door", BUNDLE) == After(one, True)
