"""In which order frames go on a stream when the cloud sends some of them back."""

from edge.spool import Pending
from edge.turns import HELD, Turn, Turns


def frame(seq: int, camera: str = "door", size: int = 100) -> Pending:
    return Pending(seq, f"f{seq}", camera, 0, 0, 0, 0, {}, bytes(size))


def taken(turns: Turns) -> list[tuple[int, bool]]:
    """All that can go."""
    found = []
    while turns.ready:
        turn = turns.next()
        found.append((turn.frame.seq, turn.anew))
    return found


def test_in_the_order_of_the_spool() -> None:
    turns = Turns()
    assert turns.hungry and not turns.ready
    turns.read([frame(1), frame(2, "yard"), frame(3)])
    assert turns.ready and not turns.hungry
    assert taken(turns) == [(1, False), (2, False), (3, False)]
    assert turns.hungry


def test_a_camera_waits_for_what_goes_anew_and_the_others_do_not() -> None:
    turns = Turns()
    turns.lost(frame(1))
    turns.read([frame(3), frame(4, "yard"), frame(5), frame(6, "yard")])
    assert taken(turns) == [(4, False), (6, False)]
    assert turns.hungry and turns.some_lost.is_set()
    lost = turns.due([frame(2), frame(4, "yard")])
    assert lost == []  # another of this camera is in flight
    turns.lost(frame(2))
    lost = turns.due([frame(4, "yard")])
    assert [one.seq for one in lost] == [1, 2] and not turns.some_lost.is_set()
    turns.read([frame(7), frame(8, "yard")])
    assert turns.next() == Turn(frame(8, "yard"), anew=False)
    turns.coded(lost[0])
    assert taken(turns) == [(1, True)]
    turns.coded(lost[1])
    assert taken(turns) == [(2, True), (3, False), (5, False), (7, False)]


def test_what_cannot_be_coded_anew_holds_nobody_up() -> None:
    turns = Turns()
    turns.lost(frame(1))
    turns.read([frame(2)])
    (lost,) = turns.due([])
    assert not turns.ready
    turns.given_up(lost)
    assert taken(turns) == [(2, False)]


def test_lost_once_more_it_comes_after_those_that_are_on_their_way() -> None:
    turns = Turns()
    turns.lost(frame(1))
    turns.lost(frame(2))
    first, second = turns.due([])
    turns.coded(first)
    assert taken(turns) == [(1, True)]
    turns.lost(first)
    assert turns.due([]) == []  # the second is being coded
    turns.coded(second)
    assert taken(turns) == [(2, True)]
    assert turns.due([second]) == []
    assert turns.due([]) == [first]


def test_cameras_come_one_by_one_each_in_order() -> None:
    turns = Turns()
    for seq, camera in ((4, "yard"), (3, "door"), (2, "yard"), (1, "door")):
        turns.lost(frame(seq, camera))
    assert [one.seq for one in turns.due([])] == [2, 4]
    assert [one.seq for one in turns.due([])] == [1, 3]
    assert turns.due([]) == []


def test_what_waits_is_bounded() -> None:
    turns = Turns()
    turns.lost(frame(0))
    turns.read([frame(seq) for seq in range(1, HELD)])
    assert turns.hungry
    turns.read([frame(HELD)])
    assert not turns.hungry and not turns.ready
    large = Turns()
    large.lost(frame(0))
    large.read([frame(1, size=9 << 20)])
    assert large.hungry
    large.read([frame(2, size=9 << 20)])
    assert not large.hungry


def test_with_too_many_to_go_anew_all_cameras_wait() -> None:
    turns = Turns()
    turns.read([frame(HELD + 1, "yard"), frame(HELD + 2, "yard")])
    for seq in range(HELD - 1):
        turns.lost(frame(seq, f"c{seq}"))
    assert turns.ready
    turns.lost(frame(HELD, "door"))
    assert not turns.ready
    (first,) = turns.due([])
    turns.coded(first)
    assert taken(turns) == [(0, True), (HELD + 1, False), (HELD + 2, False)]
