"""Networks of integers: the kernel is the reference, both are the network in floating point, no sum leaves 32 bits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from common.codec import _kernel
from common.codec.integers import RELU, SHUFFLE, TOP, Convolution, IntegerNet
from tests.codec.latent_samples import Kinds, net, net_arrays, one_layer

MACHINES = range(4)
HYPER: Kinds = [(96, 3, RELU), (384, 1, RELU | SHUFFLE), (96, 3, RELU), (70, 1, 0)]


@pytest.fixture
def any_machine() -> Iterator[None]:
    before = _kernel.integers_newest(3)
    yield
    _kernel.integers_newest(before)


@st.composite
def cases(draw: st.DrawFn) -> tuple[IntegerNet, np.ndarray]:
    """A network, with an input that goes beyond its limit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds: Kinds = []
    for _ in range(draw(st.integers(0, 3))):
        shuffled = draw(st.booleans())
        outputs = draw(st.integers(1, 40))
        kinds.append((4 * outputs if shuffled else outputs, draw(st.sampled_from([1, 3])), RELU | SHUFFLE * shuffled))
    kinds.append((draw(st.integers(1, 70)), draw(st.sampled_from([1, 3])), draw(st.sampled_from([0, RELU]))))
    inputs, limit = draw(st.integers(1, 20)), draw(st.sampled_from([1, 255, 2047, 32767]))
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return net(rng, inputs, kinds, limit), rng.integers(-2 * limit, 2 * limit, (inputs, *size), np.int32)


def in_torch(network: IntegerNet, x: np.ndarray) -> np.ndarray:
    """Float64 holds all of it exactly."""
    found = torch.from_numpy(x.clip(-network.input_limit, network.input_limit)).double()[None]
    for layer in network.layers:
        border = layer.weight.shape[2] // 2
        found = torch.nn.functional.pad(found, (border,) * 4, mode="replicate")
        weight, bias = (torch.from_numpy(part).double() for part in (layer.weight, layer.bias))
        scale = torch.exp2(torch.from_numpy(layer.shift).double())[:, None, None]
        found = torch.nn.functional.conv2d(found, weight, bias) + torch.floor(scale / 2)
        found = torch.floor(found / scale)
        found = found.clamp(0, TOP) if layer.relu else found
        found = torch.nn.functional.pixel_shuffle(found, 2) if layer.shuffle else found
    return found[0].numpy()


# ---- Equal --------------------------------------------------------------------------------------------------------


@given(cases())
@settings(max_examples=60)
def test_the_kernel_and_the_reference_are_the_network_in_doubles(case: tuple[IntegerNet, np.ndarray]) -> None:
    network, x = case
    found = network(x)
    assert found.dtype == np.int32
    assert np.array_equal(found, network.forward_reference(x))
    assert np.array_equal(found, in_torch(network, x))


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("size", [(1, 1), (1, 20), (5, 5), (7, 9), (13, 4)])
def test_every_instruction_set_gives_the_same(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    network = net(rng, 63, HYPER, 2047)
    x = rng.integers(-2047, 2048, (63, *size), np.int32)
    found = []
    for machine in MACHINES:
        _kernel.integers_newest(machine)
        found.append(network(x))
    assert all(np.array_equal(one, network.forward_reference(x)) for one in found)
    assert len(np.unique(found[0])) > 20


def in_onnx(network: IntegerNet) -> bytes:
    """The network in float32, as any framework would run it."""
    nodes, constants, name = [], [], "x"

    def put(kind: str, *inputs: Any, **attributes: Any) -> None:
        nonlocal name
        names = [name]
        for value in inputs:
            names.append(f"c{len(constants)}")
            constants.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, names, [name], **attributes))

    for layer in network.layers:
        if layer.weight.shape[2] == 3:
            put("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="edge")
        scale = np.exp2(layer.shift.astype(np.float32))
        bias = layer.bias.astype(np.float32) + np.floor(scale / 2)
        put("Conv", layer.weight.astype(np.float32), bias)
        put("Div", scale[:, None, None])
        put("Floor")
        if layer.relu:
            put("Clip", np.float32(0), np.float32(TOP))
        if layer.shuffle:
            put("DepthToSpace", blocksize=2, mode="CRD")
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, None) for end in ("x", name)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("threads", [1, 2])
def test_where_no_sum_reaches_2_to_the_24_floats_give_the_same(threads: int) -> None:
    rng, limit = np.random.default_rng(5), 2047
    arrays = net_arrays(rng, 32, [(48, 3, RELU), (96, 1, RELU | SHUFFLE), (20, 3, 0)], limit)
    for number in range(3):
        weight = arrays[f"net.{number}.weight"]
        most = (2**24 - 2**14) // (limit if number == 0 else TOP)
        arrays[f"net.{number}.weight"] = (weight * (most / np.abs(weight).sum(axis=(1, 2, 3)).max())).astype(np.int16)
        arrays[f"net.{number}.shift"] = np.array(rng.integers(7, 11, len(weight)), np.uint8)
    network = IntegerNet.from_arrays(arrays, "net")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(in_onnx(network), options, providers=["CPUExecutionProvider"])
    x = rng.integers(-limit, limit + 1, (32, 6, 11), np.int32)
    (found,) = session.run(None, {"x": x[None].astype(np.float32)})
    assert np.array_equal(found[0], network(x))
    assert len(np.unique(found)) > 200


def test_shifts_round_to_the_nearest_and_halves_up() -> None:
    identity = IntegerNet([one_layer(np.ones((1, 1, 1, 1)), [0], [2])], 100)
    x = np.array([[[-7, -6, -5, -2, -1, 0, 1, 2, 5, 6, 7]]])
    expected = [-2, -1, -1, 0, 0, 0, 0, 1, 1, 2, 2]
    assert identity(x).ravel().tolist() == identity.forward_reference(x).ravel().tolist() == expected
    plain = IntegerNet([one_layer(np.ones((1, 1, 1, 1)), [3], [0])], 100)
    assert plain(x).ravel().tolist() == (x.ravel() + 3).tolist()


def test_inputs_and_relus_are_clamped() -> None:
    twice = IntegerNet([one_layer(np.full((1, 1, 1, 1), 2), [0], [0], relu=True)], 2047)
    assert twice(np.array([[[-9999, -1, 3, 9999]]])).ravel().tolist() == [0, 0, 6, 4094]
    assert IntegerNet([one_layer(np.full((1, 1, 1, 1), 3), [0], [0], relu=True)], 2047)(
        np.array([[[1365, 1366]]])
    ).ravel().tolist() == [4095, 4095]


def test_a_shuffle_is_that_of_torch() -> None:
    weight = np.eye(8)[:, :, None, None]
    shuffle = IntegerNet(
        [Convolution(weight.astype(np.int16), np.zeros(8, np.int32), np.zeros(8, np.uint8), True, True)], 99
    )
    x = np.arange(48).reshape(8, 2, 3)
    expected = torch.nn.functional.pixel_shuffle(torch.from_numpy(x), 2).numpy()
    assert np.array_equal(shuffle(x), expected)


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("machine", MACHINES)
def test_the_largest_sums_that_may_be_are_right(machine: int) -> None:
    """One less than 2^31 on either side; one more is refused."""
    limit, terms = 32767, 2
    weight = np.full((2, terms, 1, 1), 32767)
    weight[1] *= -1
    rest = 2**31 - 1 - limit * 32767 * terms
    network = IntegerNet([one_layer(weight, [rest, -rest], [0, 0])], limit)
    _kernel.integers_newest(machine)
    assert network(np.full((terms, 1, 1), limit)).ravel().tolist() == [2**31 - 1, 1 - 2**31]
    assert network(np.full((terms, 1, 1), -limit)).ravel().tolist() == [2 * rest - 2**31 + 1, 2**31 - 1 - 2 * rest]
    with pytest.raises(ValueError, match=r"0\.weight: expected sums below 2\^31, output 1 may reach 2147483648"):
        IntegerNet([one_layer(weight, [rest, -rest - 1], [0, 0])], limit)


# ---- Refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": np.array([1, 4, 0], np.uint8)}, "net.kinds: expected uint8"),
        ({"kinds": np.array([1, 3, 0])}, "net.kinds: expected uint8"),
        ({"kinds": np.zeros(0, np.uint8)}, r"net.layers: expected 1\.\.32, got 0"),
        ({"kinds": np.array([0, 3, 0], np.uint8)}, "net.0: expected a relu in every layer but the last"),
        ({"kinds": np.array([3, 3, 0], np.uint8)}, "net.0: expected a relu and outputs in fours"),
        ({"kinds": np.array([1, 2, 0], np.uint8)}, "net.1: expected a relu"),
        ({"kinds": np.array([1, 1, 0], np.uint8)}, "net.2.weight: expected 16 inputs, got 4"),
        ({"input_limit": np.array(0)}, r"net.input_limit: expected 1\.\.32767"),
        ({"input_limit": np.array(40000)}, r"net.input_limit: expected 1\.\.32767"),
        ({"input_limit": np.array(1.5)}, "net.input_limit: expected one integer"),
        ({"1.weight": np.ones((16, 10, 2, 2), np.int16)}, "net.1.weight: expected int16"),
        ({"1.weight": np.ones((16, 10, 1, 1), np.int32)}, "net.1.weight: expected int16"),
        ({"1.weight": np.ones((16, 0, 1, 1), np.int16)}, r"net.1.weight: expected 1\.\.4096 channels"),
        ({"1.bias": np.zeros(15, np.int32)}, r"net.1.bias: expected int32 \[16\]"),
        ({"1.bias": np.zeros(16, np.int64)}, r"net.1.bias: expected int32 \[16\]"),
        ({"1.shift": np.full(16, 31, np.uint8)}, "net.1.shift: expected uint8"),
        ({"1.shift": np.zeros(16, np.int8)}, "net.1.shift: expected uint8"),
        (
            {"0.weight": np.full((10, 3, 3, 3), 32767, np.int16), "input_limit": np.array(3000)},
            "0.weight: expected sums",
        ),
        ({"2.bias": np.full(5, -(2**31), np.int32)}, "net.2.weight: expected sums below"),
    ],
)
def test_networks_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    kinds: Kinds = [(10, 3, RELU), (16, 1, RELU | SHUFFLE), (5, 1, 0)]
    arrays = net_arrays(np.random.default_rng(0), 3, kinds, 2047)
    with pytest.raises(ValueError, match=message):
        IntegerNet.from_arrays(arrays | {f"net.{name}": array for name, array in changes.items()}, "net")


def test_missing_arrays_are_key_errors() -> None:
    arrays = net_arrays(np.random.default_rng(0), 3, [(4, 1, 0)], 9)
    for name in arrays:
        with pytest.raises(KeyError):
            IntegerNet.from_arrays({key: array for key, array in arrays.items() if key != name}, "net")


def test_inputs_of_another_width_are_refused() -> None:
    network = net(np.random.default_rng(0), 3, [(4, 1, 0)], 9)
    for call in (network, network.forward_reference):
        with pytest.raises(ValueError, match="x: expected 3 channels"):
            call(np.zeros((5, 2, 2), np.int32))


def test_the_kernel_checks_what_it_is_given() -> None:
    network = net(np.random.default_rng(0), 6, [(8, 3, RELU | SHUFFLE)], 99)
    layer = network.packed[0]
    good: list[Any] = [np.zeros((2, 3, 6), np.int16), (2, 3), 9, layer.weight, layer.bias, layer.shift, 3]
    good.append(np.zeros((4, 6, 2), np.int16))
    _kernel.integers_layer(*good)
    for at, value in (
        (0, np.zeros((2, 3, 5), np.int16)),
        (0, np.zeros(35, np.int16)),
        (1, (0, 3)),
        (1, (2, 1 << 20)),
        (2, 4),
        (2, 1),
        (3, layer.weight[:1].copy()),
        (4, layer.bias[:-1].copy()),
        (5, layer.shift[:-1].copy()),
        (5, layer.shift + np.int32(31)),
        (6, 2),
        (6, 0),
        (7, np.zeros((4, 6, 1), np.int16)),
    ):
        with pytest.raises(ValueError, match="expected the size that the layer has"):
            _kernel.integers_layer(*good[:at], value, *good[at + 1 :])
