"""Which frame the next one is coded after."""

import numpy as np

from common.codec import State
from common.codec.temporal import tables_name
from edge.references import CAMERAS, IDLE_S, MAX_AGE_S, WAITING, After, References

MEMORY = tables_name() + b"12345678"
BUNDLE = b"abcd"


def state(number: int = 0) -> State:
    return State.of(number, None, np.zeros(3, np.int32))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def references(period: int = 0, enabled: bool = True, max_bytes: int = 1 << 20) -> tuple[References, Clock]:
    clock = Clock()
    found = References(enabled, period, max_bytes, clock)
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


def test_a_camera_that_shows_something_else_each_time_is_tried_less_often() -> None:
    found, _ = references()
    found.next("door", BUNDLE)
    found.coded("door", "f", BUNDLE, state())
    found.acked("f")

    def offered(count: int, helped: bool) -> str:
        told = ""
        for _ in range(count):
            after = found.next("door", BUNDLE)
            assert after is not None and after.keep
            told += "." if after.before is None else "x"
            if after.before is not None:
                found.tried("door", helped)
        return told

    assert offered(1, helped=False) + offered(3, helped=True) == "xxxx"  # once says nothing
    assert offered(40, helped=False) == "xx.x..x....x........x........x........x."
    assert offered(10, helped=True) == "." * 7 + "xxx"
    found.tried("nobody", helped=False)


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
    found, _ = references(max_bytes=1 << 30)
    small = state()
    for i in range(CAMERAS + 10):
        found.next(f"c{i}", BUNDLE)
        found.coded(f"c{i}", f"f{i}", BUNDLE, small)
    found.acked("f0")
    assert found.next("c0", BUNDLE) == After(None, True)
    found.acked(f"f{CAMERAS}")
    newest = found.next(f"c{CAMERAS}", BUNDLE)
    assert newest is not None and newest.before is not None


def test_bytes_are_bounded_and_what_has_no_room_is_nobody_s_reference() -> None:
    one = 3 * 4 + 512
    found, _ = references(max_bytes=3 * one)
    dropped: list[str] = []
    found.on_dropped = dropped.append
    states = [state(i) for i in range(5)]
    for i, each in enumerate(states[:3]):
        assert found.next("door", BUNDLE) == After(None, True)
        found.coded("door", f"f{i}", BUNDLE, each)
    assert found.bytes == 3 * one and not dropped
    assert found.next("door", BUNDLE) == After(None, False)
    found.next("yard", BUNDLE)
    found.coded("yard", "g0", BUNDLE, states[4])
    assert dropped == ["no room"] * 2 and found.bytes == 3 * one
    found.acked("f1")
    assert found.bytes == 2 * one
    assert found.next("door", BUNDLE) == After(states[1], True)
    found.coded("door", "f3", BUNDLE, states[3])
    found.acked("g0")
    assert found.next("yard", BUNDLE) == After(None, False)
    found.ended("f2")
    found.ended("f3")
    found.lost("door")
    assert found.bytes == 0


def test_cameras_that_code_nothing_give_way() -> None:
    one = 3 * 4 + 512
    found, clock = references(max_bytes=2 * one)
    dropped: list[str] = []
    found.on_dropped = dropped.append
    for i in range(2):
        found.next(f"c{i}", BUNDLE)
        found.coded(f"c{i}", f"f{i}", BUNDLE, state(i))
        found.acked(f"f{i}")
        clock.now += IDLE_S / 2
    found.next("new", BUNDLE)
    found.coded("new", "n0", BUNDLE, new := state(2))
    found.acked("n0")
    assert dropped == ["idle"] and found.bytes == 2 * one
    assert found.next("new", BUNDLE) == After(new, False)
    assert found.next("c1", BUNDLE).before is not None  # type: ignore[union-attr]
    assert found.next("c0", BUNDLE) == After(None, True)


def test_nothing_is_counted_after_another_welcome_or_while_away() -> None:
    found, _ = references()
    for camera in ("door", "yard"):
        found.next(camera, BUNDLE)
        found.coded(camera, f"{camera} 0", BUNDLE, state())
    found.acked("door 0")
    found.away()
    assert found.bytes == 3 * 4 + 512
    found.welcome(tables_name() + b"87654321")
    assert found.bytes == 0


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
