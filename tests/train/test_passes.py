"""Latents in passes: what each pass sees, where it starts, and what it is worth."""

import pytest

torch = pytest.importorskip("torch")

from common.codec.passes import ALL, EVEN, ODD  # noqa: E402
from train.nets.latent import Latent  # noqa: E402
from train.nets.passes import Pass, cells, grouped, passes_of, shared  # noqa: E402
from train.warm import take  # noqa: E402

CHANNELS = 8
PASSES = grouped(2, 5, CHANNELS)
STEP = torch.tensor([0.5])


def latent(passes=PASSES, seed=0):
    """That says something."""
    torch.manual_seed(seed)
    net = Latent(CHANNELS, hyper=4, width=8, halvings=1, passes=passes).eval().requires_grad_(False)
    for head in [told.head for told in net.passes] or [net.decoder.head]:
        torch.nn.init.normal_(head.weight, 0, 0.1)
    return net


def test_groups_cover_all_channels_once():
    assert (Pass(0, 2, EVEN), Pass(0, 2, ODD), Pass(2, 5, ALL), Pass(5, 8, ALL)) == PASSES
    assert [each.seen for each in PASSES] == [0, 2, 2, 5]
    even, odd = cells(EVEN, 3, 5), cells(ODD, 3, 5)
    assert even[0, 0] == 1
    assert torch.equal(even + odd, cells(ALL, 3, 5))


def test_several_groups_may_be_on_the_checkerboard():
    passes = grouped(2, 5, CHANNELS, checkered=2)
    assert passes == (Pass(0, 2, EVEN), Pass(0, 2, ODD), Pass(2, 5, EVEN), Pass(2, 5, ODD), Pass(5, 8, ALL))
    assert [each.seen for each in passes] == [0, 2, 2, 5, 5]


def known(net, y):
    """Of all elements the bits under what is known of each."""
    hidden = net.decoder.hidden(torch.zeros(1, 4, 4, 6))
    return net._in_passes(y, hidden, STEP[:, None, None, None])


@pytest.mark.parametrize("channel", [0, 3, 6])
def test_no_pass_sees_what_comes_later(channel):
    net, y = latent(), torch.randn(1, CHANNELS, 8, 12)
    y[0, channel, 3, 4] = 0.0  # 3 + 4 is odd
    before = known(net, y)[1]
    y[0, channel, 3, 4] = 4.0
    changed = (known(net, y)[1] != before)[0]
    mine = next(each for each in PASSES if each.first <= channel < each.end and each.parity != EVEN)
    assert changed[channel, 3, 4]
    assert not changed[: mine.first].any()
    rest = changed[mine.first : mine.end].clone()
    rest[channel - mine.first, 3, 4] = False
    assert not rest.any(), "others of its own pass, or its even cells, saw it"
    assert mine.end == CHANNELS or changed[mine.end :].any()


def test_odd_cells_see_even_ones():
    net, y = latent(), torch.randn(1, CHANNELS, 8, 12)
    before = known(net, y)[1]
    y[0, 1, 4, 4] += 4.0
    changed = (known(net, y)[1] != before)[0, :2]
    assert changed[:, cells(ODD, 8, 12).bool()].any()
    own = changed & cells(EVEN, 8, 12).bool()
    assert own.sum() == 1


def test_passes_begin_by_saying_what_one_head_said():
    whole, parts = latent(()), latent(seed=1)
    new = take(parts, shared(whole.state_dict(), "", PASSES))
    assert {name.split(".")[2] for name in new} == {"context", "place"}
    y = 2 * torch.randn(2, CHANNELS, 8, 12)
    one, other = (net(y, STEP.expand(2)) for net in (whole, parts))
    assert torch.allclose(one.y, other.y, atol=1e-5)
    assert torch.allclose(one.bits, other.bits, rtol=1e-4)


def test_more_checkerboard_begins_by_saying_what_less_of_it_said():
    net = latent()
    for told in net.passes:
        if told.context is not None:
            torch.nn.init.normal_(told.head.weight, 0, 0.1)
    more = latent(grouped(2, 5, CHANNELS, checkered=3), seed=1)
    new = take(more, shared(net.state_dict(), "", grouped(2, 5, CHANNELS, checkered=3)))
    assert {name.split(".")[2] for name in new} == {"place"}
    y = 2 * torch.randn(2, CHANNELS, 8, 12)
    one, other = (each(y, STEP.expand(2)) for each in (net, more))
    assert torch.allclose(one.y, other.y, atol=1e-5)
    assert torch.allclose(one.bits, other.bits, rtol=1e-4)


def test_weights_say_which_passes_they_are_of():
    assert passes_of({f"x.{name}": value for name, value in latent().state_dict().items()}, "x.") == PASSES
    assert passes_of(latent(()).state_dict(), "") == ()


def test_what_repeats_itself_costs_less_in_passes():
    """Channels that copy the first ones: a head that knows of z alone cannot see it, passes learn it."""
    torch.manual_seed(0)
    y = torch.randn(4, CHANNELS, 8, 8).mul(4).round()
    y[:, 2:] = y[:, :2].repeat(1, 3, 1, 1)
    bits = []
    for passes in ((), PASSES):
        net = Latent(CHANNELS, hyper=4, width=8, halvings=1, passes=passes)
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(150):
            optimiser.zero_grad()
            coded = net(y, torch.ones(4))
            (coded.bits + coded.side_bits).mean().backward()
            optimiser.step()
        bits.append(net.eval()(y, torch.ones(4)).bits.mean().item())
    assert bits[1] < 0.8 * bits[0]
