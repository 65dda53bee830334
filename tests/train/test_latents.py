"""A trained latent as its coder: what it says of values, what they cost, how they come back."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from common.codec.latent import Cells, LatentCoder  # noqa: E402
from common.codec.rounding import SIZES, nearest  # noqa: E402
from train import latents  # noqa: E402
from train.latents import Example, Model, Rates  # noqa: E402
from train.nets.latent import Latent  # noqa: E402
from train.nets.passes import grouped  # noqa: E402

CHANNELS, CONTEXT = 6, 3
RATES = Rates(512, range(384, 545), 512)
CELLS = Cells(1, 2, 15, 23)
PASSES = grouped(2, 3, CHANNELS)
SIZE = 16, 24
SPREAD = torch.tensor([32.0, 8.0, 4.0, 2.0, 1.0, 0.25])


def latent_net(context=0, passes=()):
    """As training might leave it: a decoder that says something, learned steps and offsets."""
    torch.manual_seed(3)
    net = Latent(CHANNELS, hyper=4, width=8, halvings=1, context=context, passes=passes)
    net.spread.copy_(SPREAD)
    for head in [told.head for told in net.passes] or [net.decoder.head]:
        nn.init.normal_(head.weight, 0, 0.2)
    for last in (net.offsets.body[-1], net.hyper_step.body[-1]):
        nn.init.uniform_(last.weight, 0, 0.5)  # never below 0, whatever this processor's random numbers are
        nn.init.constant_(last.bias, 0.2)
    return net.eval().requires_grad_(False)


def examples(context, count=24):
    """Bells as wide as the channels' spread says, louder in some places."""
    random = torch.Generator().manual_seed(4)
    found = []
    for _ in range(count):
        loud = torch.exp2(torch.randn(1, *SIZE, generator=random))
        y = torch.zeros(CHANNELS, *SIZE)
        c = (slice(None), slice(CELLS.top, CELLS.bottom), slice(CELLS.left, CELLS.right))
        y[c] = (torch.randn(CHANNELS, *SIZE, generator=random) * SPREAD[:, None, None] * loud)[c]
        known = torch.randint(0, 200, (context, *SIZE), generator=random) if context else None
        found.append(Example(y, CELLS, known))
    return found


CASES = {"alone": (0, ()), "in context": (CONTEXT, ()), "in passes": (0, PASSES), "both": (CONTEXT, PASSES)}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def made(request):
    seen = examples(request.param[0])
    model = Model.of(latent_net(*request.param), RATES, seen, context_units=64.0)
    arrays = latents.arrays(model, latents.counted(model, seen), "full")
    return model, seen, arrays, LatentCoder.from_params(RATES.params(), arrays, "full")


def coded(model, coder, example, quality):
    z = latents.hyper(model.latent, example.y)
    known = None if example.context is None else example.context.numpy().astype(np.int32)
    return coder.encode(example.y.numpy(), z.numpy(), quality, example.cells, known), known


@pytest.mark.parametrize("quality", [384, 403, 512, 544])
def test_the_coder_says_what_the_model_says(made, quality):
    model, seen, arrays, coder = made
    level = int(np.searchsorted(arrays["full.levels"], quality, "right")) - 1
    slack, least = 0.0, 0.999
    if model.latent.passes:  # what is told of earlier passes is what the nearest numbers brought back, about
        slack, least = 0.1, 0.99
        coder = LatentCoder.from_params(RATES.params(), arrays, "full")
        coder.model.__dict__["thresholds"] = nearest(coder.model.rows, *coder.model.offset.shape)
    for example in seen[:3]:
        (payload, fixed), known = coded(model, coder, example, quality)
        np.testing.assert_array_equal(coder.decode(payload, *SIZE, example.cells, known).fixed, fixed)
        _, entering = model.whole(example, level)
        mean, index = model.said(example, entering, quality)
        step = model.rates.step(quality)
        v = (example.coded(example.y).double() - mean) / step
        whole = v.abs().floor().long()
        up = torch.from_numpy(coder.model.thresholds[level])[index, whole.clamp(max=SIZES - 1)]
        q = torch.sign(v) * torch.where(up > 1, 0, whole + (v.abs() - whole >= up))
        drawn = torch.from_numpy(arrays["full.offset"][level].astype(np.float64) / 1024)[index]
        back = mean + torch.sign(q) * (q.abs() - drawn) * step
        found = example.coded(torch.from_numpy(fixed)).double() / 256
        # A value at the very edge between two steps may go either way.
        close = (found - back).abs() < 1 / 128 + q.abs().max() * step / 2**15 + slack * step
        assert close.double().mean() > least


def test_a_z_that_is_clipped_is_told(capsys):
    net, seen = latent_net(), examples(0, 4)
    Model.of(net, RATES, seen)
    assert "clipped" not in capsys.readouterr().out
    largest = max(float(latents.hyper(net, each.y).abs().max()) for each in seen)
    last = [layer for layer in net.analysis.modules() if isinstance(layer, nn.Conv2d)][-1]
    last.weight *= 33 / largest
    last.bias *= 33 / largest
    Model.of(net, RATES, seen)
    said = capsys.readouterr().out
    assert said.startswith("z is clipped at 32.0: ") and said.endswith("up to 33.0\n")


def test_outside_the_cells_is_nothing(made):
    model, seen, _, coder = made
    (_, fixed), _ = coded(model, coder, seen[0], 512)
    fixed[:, CELLS.top : CELLS.bottom, CELLS.left : CELLS.right] = 0
    assert not fixed.any()


@pytest.mark.parametrize("quality", [400, 544])
def test_bytes_are_no_more_than_training_believes(quality):
    seen = examples(0)
    net = latent_net()
    nn.init.zeros_(net.decoder.head.weight)  # says of every channel its spread, which is the average
    model = Model.of(net, RATES, seen)
    arrays = latents.arrays(model, latents.counted(model, seen), "full")
    coder = LatentCoder.from_params(RATES.params(), arrays, "full")
    real = believed = rounded = 0.0
    for example in seen:
        real += 8 * len(coded(model, coder, example, quality)[0][0])
        bits, side = latents.estimated(net, example, RATES.step(quality))
        believed, rounded = believed + bits + side, rounded + latents.integer_bits(model, example, quality) - bits
    assert real < believed * 1.01
    assert abs(rounded) < 0.005 * believed


def test_learned_offsets_and_steps_are_in_the_arrays(made):
    model, _, arrays, _ = made
    step = RATES.step(RATES.middle(3))
    scale = 2 ** ((40 - 26) / 8)
    with torch.no_grad():
        offset = model.latent.offsets(torch.tensor([scale]), torch.tensor([step]))
        z_step = model.latent.hyper_step(torch.tensor([step]))
    assert arrays["full.offset"].max() > 0
    assert arrays["full.offset"][3, 40] == pytest.approx(float(offset) * 1024, abs=0.51)
    assert arrays["full.z_step"][3] == pytest.approx(float(z_step) * 64, abs=0.51)


def test_without_offsets_there_are_none():
    net = latent_net()
    net.offset_on = net.hyper_step_on = False
    model = Model.of(net, RATES, examples(0, 2))
    assert not model.offset.any()
    assert (model.z_step == 64).all()
