"""Hyper-decoders as integers: what the codec's own network says, and close to what was trained."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from common.codec.integers import IntegerNet  # noqa: E402
from train.integers import INPUT_LIMIT, INPUT_UNITS, Chain  # noqa: E402
from train.nets.latent import HyperDecoder  # noqa: E402

CHANNELS = 6


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    net = HyperDecoder(CHANNELS, hyper=5, width=7, halvings=2, context=3).eval().requires_grad_(False)
    nn.init.normal_(net.head.weight, 0, 0.3)
    return net


@pytest.fixture(scope="module")
def z():
    return torch.randn(4, 5, 3, 5, generator=torch.Generator().manual_seed(1)) * 3


def whole(z):
    return torch.round(z * INPUT_UNITS)


@pytest.fixture(scope="module")
def chain(decoder, z):
    return Chain.of(decoder.layers, [z])


def known(chain, context_units):
    return np.array([chain.units] * 7 + [context_units] * 3)


def test_the_codec_says_the_same(decoder, chain, z):
    head = Chain.head(decoder.head, known(chain, 128.0), np.repeat([64.0, 8.0], CHANNELS))
    arrays = chain.arrays("d") | head.arrays("h")
    first, second = (IntegerNet.from_arrays(arrays, prefix) for prefix in "dh")
    loud = torch.randint(-4000, 4000, (1, 5, 2, 1)).double()  # beyond what may enter
    for x in (whole(z[:1]).double(), loud):
        hidden = chain(x)
        np.testing.assert_array_equal(first(x[0].numpy().astype(np.int32)), hidden[0].numpy())
        context = torch.randint(0, 4096, (1, 3, *hidden.shape[2:])).double()
        both = torch.cat((hidden, context), 1)
        np.testing.assert_array_equal(second(both[0].numpy().astype(np.int32)), head(both)[0].numpy())


def test_little_is_lost(decoder, chain, z):
    head = Chain.head(decoder.head, known(chain, 128.0), np.repeat([64.0, 8.0], CHANNELS))
    entering = whole(z) / INPUT_UNITS
    context = torch.rand(4, 3, 12, 20) * 20
    expected = torch.cat(decoder(entering, context), 1)
    found = head(torch.cat((chain(whole(z).double()), torch.round(context * 128).double()), 1))
    units = torch.tensor([64.0, 8.0]).repeat_interleave(CHANNELS)[:, None, None]
    # Rounding at the end alone has a deviation of 0.29.
    assert (found - expected * units).abs().max() < 2.0
    assert (found - expected * units).std() < 0.4


def test_sums_fit_where_weights_are_many():
    conv = nn.Conv2d(900, 1, 3, padding=1, padding_mode="replicate")
    nn.init.constant_(conv.weight, 1.0)
    layer = Chain.head(conv, 1.0, 1.0).layers[0]
    assert np.abs(layer.weight.astype(np.int64)).sum() * 4095 + np.abs(layer.bias).max() < 2**31
    IntegerNet.from_arrays(Chain.head(conv, 1.0, 1.0).arrays("h"), "h")


def test_a_layer_of_zeros_stays_one(z):
    net = nn.Sequential(nn.Conv2d(5, 4, 1), nn.ReLU())
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].bias, -1.0)
    chain = Chain.of(net, [z])
    assert not chain(whole(z).double()).any()


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(5, 4, 3, padding=1), nn.ReLU()),  # padded with zeros
        nn.Sequential(nn.Conv2d(5, 4, 1), nn.GELU()),
        nn.Sequential(nn.Conv2d(5, 4, 1)),  # no ReLU at last
        nn.Sequential(nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU()),
    ],
)
def test_what_integers_do_not_know_is_refused(net, z):
    with pytest.raises(ValueError, match=r"integer networks|ReLU"):
        Chain.of(net, [z])


def test_weights_that_no_shift_fits_are_refused():
    conv = nn.Conv2d(1, 1, 1)
    nn.init.constant_(conv.weight, 5000.0)
    with pytest.raises(ValueError, match="too large"):
        Chain.head(conv, 1.0, 1.0)


def test_the_limit_is_what_enters(chain):
    far = torch.full((1, 5, 1, 1), 30_000.0).double()
    assert torch.equal(chain(far), chain(torch.full((1, 5, 1, 1), float(INPUT_LIMIT)).double()))
