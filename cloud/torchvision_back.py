"""The back half of a torchvision model, in torch: the rest of its backbone from the cut on, its heads, its suppression.

The bundle is data: it names a model that torchvision builds, and back.npz holds the weights. torch.fx reads the
backbone's forward pass as a graph of named steps, which is cut where the bundle says.
"""

import operator
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torchvision.models import get_model
from torchvision.models.detection.image_list import ImageList
from torchvision.models.feature_extraction import NodePathTracer
from torchvision.ops.misc import FrozenBatchNorm2d

from common import arrays
from common.bundle import MAX_FILE_BYTES, Bundle
from common.codec import Features
from common.errors import BundleError
from common.network.back import Back, Raw

FILE = "back.npz"
DETECTORS = (
    "ssdlite320_mobilenet_v3_large",
    "ssd300_vgg16",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
)
CLASSIFIERS = ("resnet50", "mobilenet_v3_large")


class TorchvisionBack(Back):
    """Has `common.network.back.Back`'s interface and its last step, from scores and boxes to detections."""

    def __init__(self, bundle: Bundle, threads: int, min_score: float) -> None:
        self._bundle = bundle
        self._threshold = max(bundle.manifest.detector.score_threshold, min_score)
        self.batches = True
        torch.set_num_threads(threads)
        self._half = half_of(bundle)
        self._labels = np.full(bundle.manifest.back.classes, -1)
        self._labels[list(bundle.manifest.back.kept)] = np.arange(len(bundle.manifest.detector.labels))

    def run(self, features: Sequence[Features]) -> list[Raw]:
        """The cut's tensors, each [N, ...], to what the network says of each frame."""
        with torch.inference_mode():
            # torch may write where it reads; the features are the caller's.
            found = self._half([torch.tensor(tensor) for tensor in features])
        return [self._raw(*(tensor.numpy() for tensor in each)) for each in found]

    def _raw(self, scores: NDArray[Any], labels: NDArray[Any], boxes: NDArray[Any]) -> Raw:
        """Scores [D], classes [D] and boxes [D, 4] as scores [D, labels], each box with a score for its class only."""
        label = self._labels[labels]
        known = np.flatnonzero(label >= 0)
        table = np.zeros((len(known), len(self._bundle.manifest.detector.labels)), np.float32)
        table[np.arange(len(known)), label[known]] = scores[known]
        return table, boxes[known].astype(np.float32)


Found = tuple[Tensor, Tensor, Tensor]
"""Scores [D], the model's classes [D] and boxes [D, 4] in network pixels of one frame."""


class DetectorHalf(nn.Module):
    """A detection model whose forward pass starts at the cut: what comes before is taken out of it."""

    def __init__(self, model: nn.Module, names: Sequence[str], size: int) -> None:
        super().__init__()
        self.model, self.size = model, size
        model.transform = Placed(size)
        model.backbone = Resumed(tail(model.backbone, names))
        self._lock = threading.Lock()

    def forward(self, cut: Sequence[Tensor]) -> list[Found]:
        """The model's own detections from the cut's tensors, each [N, ...]."""
        blank = torch.zeros(1).expand(3, self.size, self.size)
        with self._lock:
            self.model.backbone.cut = list(cut)
            found = self.model([blank] * len(cut[0]))
        return [(each["scores"], each["labels"], each["boxes"]) for each in found]


class Placed(nn.Module):
    """Stands where a model prepares its pictures, which the front half has done: all that is left is their size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: list[Tensor], targets: None = None) -> tuple[ImageList, None]:
        """A batch of nothing, of the right shape."""
        return ImageList(images[0].expand(len(images), *images[0].shape), [(self.size, self.size)] * len(images)), None

    def postprocess(self, result: list[dict[str, Tensor]], *sizes: Any) -> list[dict[str, Tensor]]:
        """Boxes stay in network pixels."""
        return result


class Resumed(nn.Module):
    """Stands where a model has its backbone, and goes on from `cut`, whatever the pictures are."""

    def __init__(self, tail: fx.GraphModule) -> None:
        super().__init__()
        self.tail = tail
        self.cut: list[Tensor] = []

    def forward(self, _: Tensor) -> Any:
        """The backbone's features."""
        return self.tail(*self.cut)


class ClassifierHalf(nn.Module):
    """A classification model from the cut on: every class is found, in the whole frame."""

    def __init__(self, model: nn.Module, names: Sequence[str], size: int) -> None:
        super().__init__()
        self.model, self.size = tail(model, names), size

    def forward(self, cut: Sequence[Tensor]) -> list[Found]:
        """As many detections as there are classes, from the cut's tensors, each [N, ...]."""
        scores = self.model(*cut).softmax(1)
        box = torch.tensor([0.0, 0.0, self.size, self.size])
        return [(each, torch.arange(len(each)), box.expand(len(each), 4)) for each in scores]


Half = DetectorHalf | ClassifierHalf


def half_of(bundle: Bundle) -> Half:
    """The back half of a bundle with its weights. Raises BundleError if they do not fit each other."""
    back, taken = bundle.manifest.back, bundle.manifest.input
    try:
        half = halved(frozen(whole(back.model, back.classes)), back.model, bundle.manifest.cut.names, taken.width)
        weights = arrays.read(bundle.file(FILE), MAX_FILE_BYTES)
        half.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except (RuntimeError, KeyError, ValueError, AttributeError) as e:
        raise BundleError(f"{FILE} of {bundle!r} does not fit torchvision's {back.model}: {e}") from e
    half.eval().requires_grad_(False)
    return half


def whole(name: str, classes: int) -> nn.Module:
    """The model as torchvision builds it, with random weights. Raises BundleError if halves are not made of it."""
    if name in CLASSIFIERS:
        return get_model(name, weights=None, num_classes=classes).eval()
    if name in DETECTORS:
        return get_model(name, weights=None, weights_backbone=None, num_classes=classes).eval()
    known = ", ".join(DETECTORS + CLASSIFIERS)
    raise BundleError(f"{name!r} is no torchvision model that can be cut; choose one of {known}")


def frozen(model: nn.Module) -> nn.Module:
    """The model, in place, with every batch norm in one form, whichever its weights were trained in.

    torchvision builds the same model with other classes of batch norm and other epsilons for other weights; here all
    are frozen ones whose epsilon is within the variance.
    """
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d | FrozenBatchNorm2d):
            norm = FrozenBatchNorm2d(child.running_mean.numel(), eps=0.0)
            norm.load_state_dict({k: v for k, v in child.state_dict().items() if k != "num_batches_tracked"})
            norm.running_var += child.eps
            setattr(model, name, norm)
        else:
            frozen(child)
            if getattr(child, "inplace", False):
                child.inplace = False
    return model


def halved(model: nn.Module, name: str, names: Sequence[str], size: int) -> Half:
    """The back half of a frozen model of this name, cut at these nodes; the model is used up."""
    return ClassifierHalf(model, names, size) if name in CLASSIFIERS else DetectorHalf(model, names, size)


def trunk(model: nn.Module, name: str) -> nn.Module:
    """What of a model of this name is cut: a detector's backbone, the whole of a classifier."""
    return model if name in CLASSIFIERS else model.get_submodule("backbone")


def traced(root: nn.Module) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """The forward pass as a graph, and its steps by the names that `--cut` knows."""
    tracer = NodePathTracer(leaf_modules=[FrozenBatchNorm2d])
    graph = tracer.trace(root)
    for node in graph.nodes:  # `out += identity` would change what may be a cut
        if node.target is operator.iadd:
            node.target = torch.add
    return graph, {tracer.node_to_qualname[n]: n for n in graph.nodes if n in tracer.node_to_qualname}


def tail(root: nn.Module, names: Sequence[str]) -> fx.GraphModule:
    """What a module computes from the outputs of these steps, which it takes in their order, to its own output."""
    graph, nodes = traced(root)
    image = next(iter(graph.nodes))
    for number, name in enumerate(names):
        if name not in nodes:
            raise BundleError(f"{name!r} is no step of torchvision's {type(root).__name__}")
        with graph.inserting_before(image):
            nodes[name].replace_all_uses_with(graph.placeholder(f"cut{number}"))
    fx.GraphModule(root, graph).graph.eliminate_dead_code()
    if image.users:
        raise BundleError(f"the cut at {', '.join(names)} does not separate torchvision's {type(root).__name__}")
    graph.erase_node(image)
    return fx.GraphModule(root, graph)  # of the root's weights, it keeps those its steps use
