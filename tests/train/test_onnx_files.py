"""Float networks as files: the same values, sizes free, weights small."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from common.errors import BundleError  # noqa: E402
from train.bundles.onnx_files import Network, eighth, plain, written  # noqa: E402
from train.nets.picture import Analysis, Synthesis  # noqa: E402

# The exporter of plain graphs warns that a newer one exists, and of shapes that are constants here.
pytestmark = pytest.mark.filterwarnings("ignore")

CONTEXT = 4


def started(net):
    """Nets that start silent would make the test easy."""
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, 0, 0.05 if name.endswith("weight") else 0.01)
    net.linear.fixed.normal_(0, 0.05)
    return net.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["half", "eight bits"])
def analysis(request):
    net = plain(started(Analysis(8, CONTEXT)), request.param)
    inputs = {"x": torch.rand(1, 3, 64, 96), "context": torch.randn(1, CONTEXT, 4, 6)}
    return net, written(Network(net, inputs, ("y",), sized=True)), request.param


def test_other_sizes_are_the_network_too(analysis):
    net, data, _ = analysis
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    for rows, columns in ((1, 1), (3, 7), (20, 2)):
        x, context = torch.rand(1, 3, 16 * rows, 16 * columns), torch.randn(1, CONTEXT, rows, columns)
        (found,) = session.run(["y"], {"x": x.numpy(), "context": context.numpy()})
        with torch.no_grad():
            expected = net(x, context).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_what_has_no_rows_stays_as_long_where_sizes_are_free():
    class Told(torch.nn.Module):
        def forward(self, x, step):
            return x * torch.log2(step)[:, None, None, None]

    data = written(Network(Told(), {"x": torch.rand(1, 3, 4, 6), "step": torch.tensor([3.0])}, ("y",), sized=True))
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    x, step = np.ones((2, 3, 5, 2), np.float32), np.array([2, 8], np.float32)
    (y,) = session.run(["y"], {"x": x, "step": step})
    assert (y[0] == 1).all() and (y[1] == 3).all()


def test_a_file_that_is_right_at_one_size_only_is_found_out():
    class Fixed(torch.nn.Module):
        """Knows the size of its example by heart."""

        def __init__(self, like):
            super().__init__()
            self.like = like

        def forward(self, x):
            rows, columns = (torch.arange(int(side)) for side in x.shape[2:])
            return x + (self.like if self.like is not None else rows[:, None] + columns)

    inputs = {"x": torch.rand(1, 3, 4, 6)}
    written(Network(Fixed(torch.ones(4, 6)), inputs, ("y",)))
    with pytest.raises(BundleError, match=r"does not take \{'x': \[1, 3, 8, 18\]\}|differs from the network"):
        written(Network(Fixed(None), inputs, ("y",), sized=True))


def test_rounding_weights_changes_little(analysis):
    net, _, eight_bits = analysis
    x, context = torch.rand(1, 3, 64, 96), torch.randn(1, CONTEXT, 4, 6)
    with torch.no_grad():
        expected = started(Analysis(8, CONTEXT))(x, context)
        far = (net(x, context) - expected).abs().max() / expected.abs().max()
    assert 0 < far < (0.05 if eight_bits else 0.002)


def test_weights_are_stored_small(analysis):
    net, data, eight_bits = analysis
    weights = sum(p.numel() for p in net.parameters())
    assert len(data) < weights * (1.2 if eight_bits else 2.2)
    kinds = {w.data_type for w in onnx.load_from_string(data).graph.initializer}
    assert (onnx.TensorProto.INT8 in kinds) == eight_bits


def test_the_linear_path_keeps_its_precision():
    net = started(Synthesis(8, 0))
    found = plain(net, eight_bits=True)
    expected = net.linear.weight().detach()
    assert (found.linear.weight - expected).abs().max() <= expected.abs().max() * 2**-11


def test_eight_bits_hold_each_output_by_itself():
    weight = np.array([[1.0, -127.0], [0.001, 0.127]], np.float32)
    whole, unit = eighth(weight)
    np.testing.assert_array_equal(whole, [[1, -127], [1, 127]])
    np.testing.assert_allclose(unit.ravel(), [1.0, 0.001])


def test_a_file_that_says_something_else_is_refused():
    class Random(torch.nn.Module):
        def forward(self, x):
            return x + (0 if torch.onnx.is_in_onnx_export() else 1)

    with pytest.raises(BundleError, match="differs"):
        written(Network(Random(), {"x": torch.rand(1, 2, 4, 4)}, ("y",)))
