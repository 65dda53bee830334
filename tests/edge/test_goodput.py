"""The measured rate of a link: never more than it carries, and none as long as it carried everything."""

import random
from collections import deque

import pytest

from edge.goodput import CHUNK_S, DOUBT_S, HELD_UP_BYTES, Goodput


def through(
    goodput: Goodput, sizes: list[int], gap: float, rate: float, start: float = 0.0, rtt: float = 0.02, reply: int = 0
) -> float:
    """Frames every `gap` seconds, and each second a reply of so many bytes, through a queue of `rate` bytes a second;
    when the last was acked.
    """
    free, asked, now, arriving = start, start, start, deque[tuple[float, int | None]]()

    def arrive(when: float, seq: int | None) -> None:
        if seq is None:
            goodput.replied(reply, when)
        else:
            goodput.acked(seq, when, held=0.0)

    for seq, size in enumerate(sizes):
        now = start + seq * gap
        while arriving and arriving[0][0] <= now:
            arrive(*arriving.popleft())
        if reply and now >= asked:
            asked, free = asked + 1.0, max(free, now) + reply / rate
            arriving.append((free + rtt, None))
        goodput.sent(seq, size, now)
        free = max(free, now) + size / rate
        arriving.append((free + rtt, seq))
    for now, seq in arriving:
        arrive(now, seq)
    return now


@pytest.mark.parametrize("rate", [1_000, 10_000, 300_000])
def test_a_link_that_is_the_limit_shows_its_rate(rate: float) -> None:
    goodput, rng = Goodput(), random.Random(1)
    sizes = [rng.randint(rate // 20, rate // 10) for _ in range(200)]  # 0.75 of a second's bytes every 0.05 s
    through(goodput, sizes, 0.05, rate)
    assert goodput.rate == pytest.approx(rate, rel=0.15)


def test_a_link_that_was_never_the_limit_has_none() -> None:
    goodput = Goodput()
    through(goodput, [4_000] * 300, 0.1, 100_000)
    assert goodput.rate is None and goodput.rate_at(30.0) is None


def test_one_hiccup_says_nothing() -> None:
    goodput = Goodput()
    for seq in range(10):
        goodput.sent(seq, 1000, seq * 1.0)
        goodput.acked(seq, seq + (3.0 if seq == 5 else 0.01), held=0.0)
    assert goodput.rate is None


def test_a_slow_cloud_is_no_slow_link() -> None:
    goodput = Goodput()
    for seq in range(40):
        goodput.sent(seq, 4_000, seq * 0.1)
    for seq in range(40):
        done = 1.0 + seq * 0.5
        goodput.acked(seq, done + 0.02, held=done - seq * 0.1)
    assert goodput.rate is None and goodput.seconds_in_flight > 1


@pytest.mark.parametrize("size", [HELD_UP_BYTES + 1, 5_000_000])
def test_a_picture_on_the_link_is_not_held_against_it(size: int) -> None:
    goodput = Goodput()
    for second in range(0, 40, 4):
        for seq in range(4):
            goodput.sent(second + seq, 1_000, second + seq / 10)
        goodput.replied(size, second + 3.0)
        for seq in range(4):
            goodput.acked(second + seq, second + 3.1 + seq / 10, held=0.0)
    assert goodput.rate is None
    assert goodput.seconds_in_flight < 0.5, "from when the picture was through"


@pytest.mark.parametrize(("rate", "reply"), [(10_000, 30), (10_000, 1_000), (300_000, HELD_UP_BYTES)])
def test_small_replies_do_not_hide_the_limit(rate: int, reply: int) -> None:
    goodput = Goodput()
    through(goodput, [rate // 10] * 200, 0.05, rate, reply=reply)
    assert goodput.rate == pytest.approx(rate, rel=0.15)


def test_what_nobody_sent_or_what_a_stream_lost_teaches_nothing() -> None:
    goodput = Goodput()
    goodput.acked(7, 1.0, held=0.0)
    goodput.sent(1, 10**6, 0.0)
    goodput.broken()
    goodput.acked(1, 0.001, held=0.0)
    assert goodput.rate is None and goodput.seconds_in_flight == 0


def test_the_hint_bounds_from_above_only() -> None:
    goodput = Goodput()
    goodput.hint = 5_000
    assert goodput.rate_at(0.0) == 5_000
    end = through(goodput, [1_000] * 100, 0.1, 2_000)
    assert goodput.rate_at(end) == goodput.rate < 5_000 + CHUNK_S


def test_an_old_rate_is_doubted_and_believed_longer_when_it_proves_true() -> None:
    goodput = Goodput()
    end = through(goodput, [1_000] * 100, 0.1, 2_000)
    assert goodput.rate_at(end + DOUBT_S - 1) is not None
    assert goodput.rate_at(end + DOUBT_S + 1) is None
    again = through(goodput, [1_000] * 100, 0.1, 2_000, start=end + DOUBT_S + 2)
    assert goodput.rate_at(again + DOUBT_S + 1) is not None
    assert goodput.rate_at(again + 2 * DOUBT_S + 1) is None


@pytest.mark.parametrize("rtt", [0.6, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("gap", [0.05, 0.125, 1.0])
def test_a_way_that_becomes_longer_is_no_limit(rtt: float, gap: float) -> None:
    goodput, rng, events = Goodput(), random.Random(3), []
    for seq in range(round(200 / gap)):
        sent = seq * gap
        away = (0.03 if sent < 20 else rtt) + rng.uniform(0, 0.01)
        events += [(sent, 0, seq), (sent + away, 1, seq)]
    for when, acked, seq in sorted(events):
        if acked:
            goodput.acked(seq, when, held=0.0)
        else:
            goodput.sent(seq, 4_000, when)
        assert goodput.rate is None, f"{rtt} s is a long way, not a narrow one, at {when:.1f} s"


def test_a_full_window_on_a_narrow_link_shows_its_rate() -> None:
    goodput, rate, size, window = Goodput(), 100_000, 4_000, 32
    free, acks, now = 0.0, [], 0.0
    for seq in range(400):
        if len(acks) == window:
            goodput.full()
            now, old = acks.pop(0)
            goodput.acked(old, now, held=0.0)
        goodput.sent(seq, size, now)
        free = max(free, now) + size / rate
        acks.append((free + 0.02, seq))
    assert goodput.rate == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("held", [None, 7.0, float("nan"), -1.0])
def test_what_the_cloud_cannot_have_held_teaches_nothing(held: float | None) -> None:
    goodput = Goodput()
    goodput.sent(0, 1_000, 0.0)
    goodput.acked(0, 0.5, held)
    for seq in range(1, 100):  # half a second each way, always: nothing is late
        goodput.sent(seq, 1_000, seq)
        goodput.acked(seq, seq + 0.5 + 0.001 * seq, held=0.0)
    assert goodput.rate is None


def test_another_stream_may_take_another_way() -> None:
    goodput = Goodput()
    goodput.sent(0, 1_000, 0.0)
    goodput.acked(0, 0.01, held=0.0)
    goodput.broken()
    for seq in range(1, 20):  # slower by and by, but never twice as slow as on this stream
        goodput.sent(seq, 1_000, 2.0 * seq)
        goodput.acked(seq, 2.0 * seq + 1.0 + 0.04 * seq, held=0.0)
    assert goodput.rate is None
