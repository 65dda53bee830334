"""Weights out of a bundle are those that it was built of."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from bench.networks import shipped as bundle_of  # noqa: E402
from common import bundle as bundles  # noqa: E402
from common.codec.integers import IntegerNet  # noqa: E402
from train import shipped  # noqa: E402
from train.bundles.pictures import PICTURE  # noqa: E402
from train.integers import INPUT_UNITS  # noqa: E402
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


def test_integers(bundle, model):
    arrays = shipped.arrays(bundle)
    decoder = IntegerNet.from_arrays(arrays, "low.decoder")
    z = np.random.default_rng(0).integers(-200, 200, (decoder.inputs, 3, 4))
    hidden = model.low.decoder.layers(torch.from_numpy(z)[None].float() / INPUT_UNITS)
    # One factor for all: any would do.
    found = decoder(z).astype(np.float64)
    factor = float((found * hidden[0].numpy()).sum() / np.square(found).sum())
    assert abs(found * factor - hidden[0].numpy()).max() < 0.02 * float(hidden.max())


def test_tables(bundle, model):
    arrays = shipped.arrays(bundle)
    steps = torch.tensor([PICTURE.step(PICTURE.middle(level)) for level in range(len(PICTURE.levels))])
    for prefix, latent in (("low", model.low), ("high", model.high)):
        found = latent.hyper_step(steps).numpy() * INPUT_UNITS
        np.testing.assert_allclose(found, arrays[f"{prefix}.z_step"], rtol=0.05)
