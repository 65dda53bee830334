"""An ONNX graph, cut in two where tensors separate what comes before from what comes after."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.utils import Extractor
from onnxruntime import InferenceSession, SessionOptions

from bench.macs import tensor_shapes
from common.bundle import MAX_FILE_BYTES
from common.errors import BundleError
from train.bundles.flow import Flow, upstream

OLDEST_OPSET = 11
TOLERANCE = 1e-4
"""Of front and back against the whole, of the largest output or of 1."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A whole network: one picture [N, 3, size, size] in, at a fixed size."""

    model: ModelProto
    size: int
    flow: Flow


def read(path: Path) -> Network:
    """The network in an ONNX file. Raises BundleError if it cannot be cut."""
    model = _load(path)
    source, size = _picture_input(model, path.name)
    try:
        shapes = tensor_shapes(model)
    except Exception as e:  # ONNX Runtime's errors have no common class of their own
        raise BundleError(f"ONNX Runtime cannot run {path.name}: {e}") from e
    weights = {weight.name for weight in model.graph.initializer}
    tensors = {name: shape for name, shape in shapes.items() if name not in weights}
    return Network(
        model, size, Flow(str(path), model.graph.node, source, [o.name for o in model.graph.output], tensors)
    )


def _load(path: Path) -> ModelProto:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        model = onnx.load(path, load_external_data=False)
    except OSError as e:
        raise BundleError(f"cannot read {path}: {e.strerror or e}") from e
    except (DecodeError, ValueError) as e:
        raise BundleError(f"{path} is no ONNX file: {e!r}") from e
    if not model.HasField("graph"):
        raise BundleError(f"{path} is no ONNX file: there is no graph in it")
    _complete(model, path)
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        raise BundleError(f"{path.name} is of opset {opset}: export it with opset {OLDEST_OPSET} or newer")
    return model


def _complete(model: ModelProto, path: Path) -> None:
    """Load weights that are files of their own; raise BundleError if one is missing or an operator is unknown."""
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (OSError, onnx.checker.ValidationError, ValueError) as e:
        raise BundleError(f"{path} cannot be used: {' '.join(str(e).split())}") from e


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _picture_input(model: ModelProto, name: str) -> tuple[str, int]:
    """Name and size of the one input. Raises BundleError if it is not a float picture [N, 3, size, size]."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1:
        raise BundleError(
            f"{name} has {len(inputs)} inputs, {[i.name for i in inputs]}: only one, a picture, can be fed"
        )
    tensor = inputs[0].type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    said = f"the input {inputs[0].name!r} of {name} is {dims}"
    if tensor.elem_type != TensorProto.FLOAT or len(dims) != 4 or dims[1] != 3:
        raise BundleError(f"{said}: expected float32 [N, 3, height, width]")
    if not isinstance(dims[2], int) or not isinstance(dims[3], int):
        raise BundleError(f"{said}: its height and width must be fixed; export it without dynamic axes but the batch's")
    batched = isinstance(dims[0], int) and dims[0] != 1
    if batched or dims[2] != dims[3] or not 0 < dims[2] <= 4096:
        raise BundleError(f"{said}: expected one picture, square, of at most 4096 pixels a side")
    return inputs[0].name, dims[2]


def cut(network: Network, names: Sequence[str]) -> tuple[ModelProto, ModelProto]:
    """Both halves. Raises BundleError if these tensors do not separate them."""
    flow = network.flow
    flow.check(names)
    model = ModelProto()
    model.CopyFrom(network.model)
    if opset_of(model) < 13:  # before, an initializer was an input too; ONNX Runtime does not mind its absence
        kept = [i for i in model.graph.input if i.name == flow.source]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    _describe(model, flow.shapes, names)
    extractor = Extractor(model)
    return (
        extractor.extract_model([flow.source], list(names)),
        extractor.extract_model(list(names), flow.outputs),
    )


def _describe(model: ModelProto, shapes: dict[str, tuple[int, ...]], names: Sequence[str]) -> None:
    """State the shapes that were seen, in case inference does not find them."""
    known = {*names, *(o.name for o in model.graph.output), *(i.name for i in model.graph.input)}
    stated = [v for v in model.graph.value_info if v.name not in known]
    del model.graph.value_info[:]
    model.graph.value_info.extend(stated)
    ends = {o.name for o in (*model.graph.output, *model.graph.input)}
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in names if name not in ends
    )


def prune(model: ModelProto) -> None:
    """Drop what no output needs."""
    needed = upstream(model.graph.node, [o.name for o in model.graph.output])
    nodes = [node for node in model.graph.node if needed & {*node.output}]
    weights = [weight for weight in model.graph.initializer if weight.name in needed]
    for kept, field in ((nodes, model.graph.node), (weights, model.graph.initializer)):
        del field[:]
        field.extend(kept)


def session(model: ModelProto) -> InferenceSession:
    """The model in ONNX Runtime, one thread."""
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def difference(ours: Iterable[Array], theirs: Iterable[Array]) -> float:
    """The largest difference of any value, relative to the largest value of its tensor or to 1; NaN if one is."""
    with np.errstate(invalid="ignore"):
        found = [
            np.abs(a - b).max() / np.maximum(1.0, np.abs(b).max()) for a, b in zip(ours, theirs, strict=True) if a.size
        ]
    return float(np.max(found, initial=0.0))


def check_halves(network: Network, front: ModelProto, back: ModelProto, seed: int = 0) -> float:
    """How far front and back together are from the whole. Raises BundleError if by more than TOLERANCE."""
    flow, shape = network.flow, (1, 3, network.size, network.size)
    picture = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    whole = session(network.model).run(flow.outputs, {flow.source: picture})
    names = [i.name for i in back.graph.input]
    features = session(front).run(names, {flow.source: picture})
    error = difference(session(back).run(flow.outputs, dict(zip(names, features, strict=True))), whole)
    if not error <= TOLERANCE:
        raise BundleError(f"the halves of {flow.name} differ from the whole by {error:.2g}: this graph cannot be cut")
    return error


def free_batch(model: ModelProto) -> ModelProto:
    """The model with a free batch if it then gives for two what it gives for each; else as it is.

    Exporters write the batch of 1 into reshapes; there it becomes "as many as there are".
    """
    freed = ModelProto()
    freed.CopyFrom(model)
    constants = _constants(freed)
    for node in freed.graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            _free_reshape(node, constants[node.input[1]], freed)
    del freed.graph.value_info[:]
    for tensor in (*freed.graph.input, *freed.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    return freed if _batches(freed) else model


def _constants(model: ModelProto) -> dict[str, Array]:
    values = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


def _free_reshape(node: NodeProto, shape: Array, model: ModelProto) -> None:
    wanted = np.array(shape, np.int64)
    if -1 not in wanted:
        wanted[0] = -1
    elif wanted[0] == 1:
        wanted[0] = 0  # as it comes
    name = f"{node.output[0]}/shape"
    model.graph.initializer.append(numpy_helper.from_array(wanted, name))
    node.input[1] = name


def _batches(model: ModelProto) -> bool:
    """Whether two at once give what each gives alone."""
    random = np.random.default_rng(0)
    fed = {
        i.name: random.normal(0, 1, [2, *(d.dim_value for d in i.type.tensor_type.shape.dim[1:])]).astype(np.float32)
        for i in model.graph.input
    }
    try:
        run = session(model)
        both = run.run(None, fed)
        ones = [run.run(None, {name: value[i : i + 1] for name, value in fed.items()}) for i in range(2)]
    except Exception:  # noqa: BLE001 - whatever it is, the batch is not free
        return False
    if any(len(b) != 2 for b in both):
        return False
    return all(difference([b[i : i + 1] for b in both], ones[i]) <= TOLERANCE for i in range(2))
