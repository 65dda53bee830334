"""Weights out of a bundle are those that it was built of."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from bench.networks import shipped as bundle_of  # noqa: E402
from common import bundle as bundles  # noqa: E402
from common.codec import passes  # noqa: E402
from common.codec.integers import IntegerNet  # noqa: E402
from train import shipped  # noqa: E402
from train.bundles.pictures import FIXED, PICTURE  # noqa: E402
from train.integers import INPUT_UNITS  # noqa: E402
from train.latents import MEAN_UNITS, SCALE_UNITS  # noqa: E402
from train.nets.frequency import Frequency  # noqa: E402
from train.nets.passes import passes_of  # noqa: E402


@pytest.fixture(scope="module")
def bundle():
    return bundles.load(bundle_of("frequency"), "both")


@pytest.fixture(scope="module")
def model(bundle):
    weights = shipped.frequency(bundle)
    low, high = (passes_of(weights, f"{name}.") for name in ("low", "high"))
    net = Frequency(passes=(low, high))
    own = net.state_dict()
    unknown = {name for name in own if name not in weights}
    assert {name.rpartition(".")[2] for name in unknown} == {"change", "gain", "spread"}  # corrections, and z's widths
    net.load_state_dict({**own, **weights})
    return net.eval().requires_grad_(False)


def ran(bundle, file, outputs, **inputs):
    session = onnxruntime.InferenceSession(bundle.path / file)
    return session.run(outputs, {name: value.numpy() for name, value in inputs.items()})


def test_networks(bundle, model):
    x = torch.rand(1, 3, 64, 128)
    low, high = model.analysis(x)
    for found, wanted in zip(ran(bundle, "frequency_analysis.onnx", ["low", "high"], x=x), (low, high), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    (found,) = ran(bundle, "frequency_synthesis.onnx", ["x"], low=low, high=high)
    np.testing.assert_allclose(found, model.synthesis(low, high).numpy(), atol=1e-4)
    spread = model.low.spread[:, None, None]
    (z,) = ran(bundle, "low_hyper.onnx", ["z"], y=low)
    np.testing.assert_allclose(z, model.low.analysis(low / spread).numpy(), atol=1e-4)


SIDE = 8
"""Cells of y."""


def drawn(channels, side, most, seed=0):
    """So small that nothing in the integers reaches their limits."""
    return np.random.default_rng(seed).integers(-most, most, (channels, side, side))


@pytest.mark.parametrize("prefix", ["low", "high"])
def test_integers(bundle, model, prefix):
    known, latent = shipped.arrays(bundle), getattr(model, prefix)
    decoder = IntegerNet.from_arrays(known, f"{prefix}.decoder")
    z = drawn(decoder.inputs, SIDE // 4, 60)
    hidden = latent.decoder.layers(torch.from_numpy(z)[None].float() / INPUT_UNITS)
    np.testing.assert_allclose(decoder(z) / shipped.INSIDE, hidden[0].numpy(), atol=0.02)
    beside = drawn(0, SIDE, 1)
    if prefix == "high":
        below = IntegerNet.from_arrays(known, "high.context")
        y = drawn(below.inputs, SIDE, 1500)
        beside = below(y)
        told = model.below(torch.from_numpy(y)[None].float() / FIXED)[0].numpy()
        np.testing.assert_allclose(beside / shipped.INSIDE, told, atol=0.02)
    for number, (told, each) in enumerate(
        zip(latent.passes, passes.from_arrays(known, prefix, len(latent.spread), decoder.outputs), strict=True)
    ):
        assert tuple(told.of) == each[:3]
        state = drawn(each.seen, SIDE, 60, number)
        parts = [decoder(z), beside, *([each.context(state)] if each.context else [])]
        said = each.head(np.concatenate(parts)).reshape(2, -1, SIDE, SIDE)
        given = torch.cat((hidden, torch.from_numpy(beside / shipped.INSIDE)[None].float()), 1)
        mean, scale = told(given, torch.from_numpy(state)[None].float() / INPUT_UNITS)
        spread = torch.log2(latent.spread[slice(*told.of[:2])])[:, None, None]
        np.testing.assert_allclose(said[0] / MEAN_UNITS, mean[0].numpy(), atol=0.02)
        np.testing.assert_allclose(said[1] / SCALE_UNITS, (scale[0] + spread).numpy(), atol=0.1)


def test_tables(bundle, model):
    arrays = shipped.arrays(bundle)
    steps = torch.tensor([PICTURE.step(PICTURE.middle(level)) for level in range(len(PICTURE.levels))])
    for prefix, latent in (("low", model.low), ("high", model.high)):
        found = latent.hyper_step(steps).numpy() * INPUT_UNITS
        np.testing.assert_allclose(found, arrays[f"{prefix}.z_step"], rtol=0.05)
