"""Small detectors as ONNX graphs, in the forms in which the real ones are exported."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from train.bundles.nodes import Nodes

SIZE = 64
LABELS = ("cat", "dog", "bird")
BINS = 4


def nanodet(path: Path, *, size: int = SIZE, activated: bool = True) -> Path:
    """Two levels, outputs [cells, values] in shuffled order, batch written into the reshapes. Cuts at `cut`."""
    nodes, made = Nodes("net"), {}
    tensor = stem(nodes)
    for side in (size // 8, size // 16):
        if side == size // 16:
            tensor = conv(nodes, tensor, 6, 6, 2, seed=2)
        head = conv(nodes, tensor, 6, len(LABELS) + 4 * BINS, seed=side)
        scores = slice_channels(nodes, head, 0, len(LABELS))
        scores = nodes("Sigmoid", scores) if activated else scores
        sides = slice_channels(nodes, head, len(LABELS), len(LABELS) + 4 * BINS)
        for kind, part, width in (("s", scores, len(LABELS)), ("d", sides, 4 * BINS)):
            flat = nodes("Reshape", part, np.array([width, -1]))
            nodes("Transpose", flat, perm=[1, 0], called=f"{kind}{side}")
            made[f"{kind}{side}"] = [side * side, width]
    order = sorted(made, key=lambda name: name[::-1])
    return saved(path, nodes, size, {name: made[name] for name in order})


def yolox(path: Path, *, size: int = SIZE) -> Path:
    """Three levels joined to [1, cells, 5 + labels], probabilities activated, boxes in cells."""
    nodes, levels = Nodes("net"), []
    tensor, width = stem(nodes), 5 + len(LABELS)
    for stride in (8, 16, 32):
        if stride > 8:
            tensor = conv(nodes, tensor, 6, 6, 2, seed=stride)
        head = conv(nodes, tensor, 6, width, seed=stride + 1, gain=0.3)
        chances = nodes("Sigmoid", slice_channels(nodes, head, 4, width))
        whole = nodes("Concat", slice_channels(nodes, head, 0, 4), chances, axis=1)
        levels.append(nodes("Reshape", whole, np.array([1, width, -1])))
    nodes("Transpose", nodes("Concat", *levels, axis=2), perm=[0, 2, 1], called="output")
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    return saved(path, nodes, size, {"output": [1, cells, width]})


def fastestdet(path: Path, *, size: int = SIZE) -> Path:
    """One level [1, 5 + labels, cells, cells]."""
    nodes = Nodes("net")
    head = conv(nodes, stem(nodes), 6, 5 + len(LABELS), seed=3)
    object_part = nodes("Sigmoid", slice_channels(nodes, head, 0, 1))
    classes = nodes("Softmax", slice_channels(nodes, head, 5, 5 + len(LABELS)), axis=1)
    nodes("Concat", object_part, slice_channels(nodes, head, 1, 5), classes, axis=1, called="out")
    return saved(path, nodes, size, {"out": [1, 5 + len(LABELS), size // 8, size // 8]})


def stem(nodes: Nodes) -> str:
    """Stride 8, a leaky ReLU called `cut`, then two paths `left` and `right` that meet again."""
    first = conv(nodes, "image", 3, 6, 8, gain=0.03)  # some networks take 0..255
    cut = nodes("LeakyRelu", first, alpha=0.1, called="cut")
    left = nodes("Relu", conv(nodes, cut, 6, 6, seed=4), called="left")
    right = nodes("Relu", conv(nodes, cut, 6, 6, seed=5), called="right")
    return nodes("Add", left, right, called="joined")


def conv(
    nodes: Nodes, tensor: str, inputs: int, outputs: int, stride: int = 1, seed: int = 0, gain: float = 1.5
) -> str:
    """A convolution of kernel = stride, with a bias."""
    random = np.random.default_rng(seed)
    weights = random.normal(0, gain / np.sqrt(inputs * stride**2), (outputs, inputs, stride, stride)).astype(np.float32)
    bias = random.normal(0, 0.5, outputs).astype(np.float32)
    return nodes("Conv", tensor, weights, bias, strides=[stride, stride])


def slice_channels(nodes: Nodes, tensor: str, first: int, end: int) -> str:
    """Channels first to end."""
    return nodes("Slice", tensor, np.array([first]), np.array([end]), np.array([1]))


def saved(path: Path, nodes: Nodes, size: int | str, outputs: dict[str, list[int]], opset: int = 17) -> Path:
    """The graph as a file; `image` is [1, 3, size, size]."""
    graph = helper.make_graph(
        nodes.nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        nodes.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, path)
    return path


NETWORKS = {"nanodet": nanodet, "yolox": yolox, "fastestdet": fastestdet}


def labels_file(folder: Path) -> Path:
    """The labels of these detectors, a line each."""
    path = folder / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


def pictures(folder: Path, count: int = 6) -> Path:
    """A folder of small JPEGs of coloured patches."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    for i in range(count):
        patches = random.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(patches.repeat(12, 0).repeat(12, 1)).save(folder / f"{i}.jpg")
    return folder
