"""A float network of a codec as an ONNX file: sizes free, weights in half precision or in eight bits.

Weights are rounded first, in place in a copy, so that the file can be compared with the very network it holds.
"""

import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from common.errors import BundleError
from train.export import OPSET, halve
from train.nets.picture import Linear

LARGE = 4096
"""Values of a weight from which eight bits are worth their scales."""
BATCH, ROWS, COLUMNS = 0, 2, 3
EXACT = ("latent.decoder.", "low.decoder.", "high.decoder.", ".passes.", "below.")
"""What ships as integers is rounded there, from what training left."""
LARGER = 2, 3
"""How many times the rows and columns of its example a network of free size is tried at as well."""
CLOSE = 1e-4
"""How far a file may be from its network, of the largest value."""

Axes = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Network:
    """A module with what goes in, by name, and the names of what comes out."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    batched: bool = True
    """Whether the batch is free."""
    sized: bool = False
    """Whether rows and columns are free, in inputs and outputs of four dimensions."""

    def axes(self) -> dict[str, dict[int, str]]:
        """What is free, as torch's exporter wants it; sizes get a name for each tensor."""
        free = {BATCH: "batch"} if self.batched else {}
        return {
            name: free | ({ROWS: f"{name}_rows", COLUMNS: f"{name}_columns"} if self._sized(name) else {})
            for name in (*self.inputs, *self.outputs)
        }

    def examples(self) -> Iterator[dict[str, Tensor]]:
        """The inputs and, where sizes are free, larger ones of another shape."""
        yield self.inputs
        if self.sized:
            sized = {name: tensor.repeat(1, 1, *LARGER) for name, tensor in self.inputs.items() if self._sized(name)}
            yield self.inputs | sized

    def _sized(self, name: str) -> bool:
        """Whether the rows and columns of this tensor are free; results have four dimensions."""
        return self.sized and (name not in self.inputs or self.inputs[name].dim() == 4)


def plain(module: nn.Module, eight_bits: bool = False, coarse: tuple[str, ...] = ()) -> nn.Module:
    """A copy on the CPU for evaluation, `Linear`s as the convolutions they are, weights as the file will hold them.

    With `eight_bits`, large weights have so many, those of `Linear`s only in the parts that are named in `coarse`.
    """
    found = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    found = found.to(memory_format=torch.contiguous_format)
    fine = {name for name in _convolved(found) if not name.startswith(coarse)}
    for name, weight in found.named_parameters():
        if any(part in name for part in EXACT):
            continue
        if eight_bits and weight.numel() >= LARGE and name.removesuffix(".weight") not in fine:
            weight.copy_(torch.from_numpy(_dequantised(*eighth(weight.numpy()))))
        else:
            weight.copy_(weight.half().float())
    return found


def _convolved(module: nn.Module, above: str = "") -> set[str]:
    """Put a 1x1 convolution in the place of every `Linear`; returns their names."""
    found = set()
    for name, child in module.named_children():
        if isinstance(child, Linear):
            weight = child.weight().detach()
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
            conv.weight.data.copy_(weight)
            setattr(module, name, conv.requires_grad_(False))
            found.add(above + name)
        else:
            found |= _convolved(child, f"{above}{name}.")
    return found


def written(network: Network) -> bytes:
    """The network, whose weights are rounded (`plain`), as an ONNX file. Raises BundleError if they differ."""
    file = io.BytesIO()
    torch.onnx.export(
        network.module,
        tuple(network.inputs.values()),
        file,
        input_names=list(network.inputs),
        output_names=list(network.outputs),
        dynamic_axes=network.axes(),
        opset_version=OPSET,
        dynamo=False,  # the graph comes out as written, and needs no onnxscript
    )
    model = onnx.load_from_string(file.getvalue())
    shrink(model)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    check(network, data)
    return data


@torch.no_grad()
def check(network: Network, data: bytes) -> None:
    """Raise BundleError unless ONNX Runtime says of the inputs, at each of their sizes, what the network says."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for inputs in network.examples():
        expected = network.module(*inputs.values())
        expected = (expected,) if isinstance(expected, Tensor) else expected
        for name, found, wanted in zip(network.outputs, _run(session, inputs), expected, strict=True):
            far = _apart(found, wanted.numpy())
            if not far < CLOSE:
                raise BundleError(f"{name} of the ONNX file differs from the network by {far:.2g} of its largest value")


def _run(session: onnxruntime.InferenceSession, inputs: Mapping[str, Tensor]) -> Sequence[NDArray[np.float32]]:
    try:
        found: Sequence[NDArray[np.float32]] = session.run(None, {n: tensor.numpy() for n, tensor in inputs.items()})
    except Exception as e:  # ONNX Runtime's errors have no common class
        sizes = {name: list(tensor.shape) for name, tensor in inputs.items()}
        raise BundleError(f"the ONNX file does not take {sizes}: {e}") from e
    return found


def _apart(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference as a part of the largest value; infinite for another shape."""
    if found.shape != wanted.shape:
        return np.inf
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def eighth(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight [O,...] as eight bits, and what one of them is in each output [O,1,...]."""
    largest = np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, *[1] * (weight.ndim - 1))
    unit = np.maximum(largest / 127, 1e-12).astype(np.float32)
    return np.round(weight / unit).astype(np.int8), unit


def _dequantised(whole: NDArray[np.int8], unit: NDArray[np.float32]) -> NDArray[np.float32]:
    return whole.astype(np.float32) * unit


def shrink(model: onnx.ModelProto) -> None:
    """Store weights that eight bits hold as such, followed by a Cast and a Mul, in place.

    ONNX Runtime computes those once, at load; a DequantizeLinear it would keep.
    """
    added, units = [], []
    for weight in model.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.dtype != np.float32 or value.size < LARGE or value.ndim < 2:
            continue
        whole, unit = eighth(value)
        if np.any(_dequantised(whole, unit) != value):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(whole, f"{name}.whole"))
        units.append(numpy_helper.from_array(unit, f"{name}.unit"))
        added.append(helper.make_node("Cast", [f"{name}.whole"], [f"{name}.cast"], to=TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.unit"], [name]))
    nodes = [*added, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(units)
