"""A torchvision model, cut in two: the front half becomes ONNX, of the back half the weights are kept."""

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from cloud.torchvision_back import CLASSIFIERS, FILE, Half, Placed, frozen, halved, traced, trunk
from common.errors import BundleError
from train.bundles import graph
from train.bundles.flow import Flow
from train.bundles.from_onnx import written
from train.bundles.halves import Halves, tensors
from train.bundles.preprocess import Preprocessing, prepend
from train.bundles.weights import Pretrained, pretrained

SIZES = {"ssdlite320_mobilenet_v3_large": 320, "ssd300_vgg16": 300, "resnet50": 224, "mobilenet_v3_large": 224}
USUAL_SIZE = 640
MULTIPLE = 32
"""Of an input's side: pyramids halve it five times."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPSET = 17
HEADS = "its heads"


@dataclass(frozen=True)
class Wanted:
    """Which model, with which weights (DEFAULT, a file, or None: any will do), at which size, with which labels."""

    model: str
    weights: str | None = "DEFAULT"
    size: int | None = None
    labels: Path | None = None


class Step(NamedTuple):
    """One step of the forward pass, by the names of tensors."""

    input: tuple[str, ...]
    output: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A whole model, ready to be cut."""

    name: str
    known: Pretrained
    size: int
    flow: Flow
    macs: dict[str, int]
    """Multiply-adds of each step, without a detector's heads."""


def read(wanted: Wanted) -> Network:
    """The model with its weights. Raises BundleError if there are none, or the size does not fit."""
    size = _size(wanted)
    known = pretrained(wanted.model, wanted.weights, wanted.labels)
    preparation = preprocessing(wanted.model, known.model, {})
    model: Any = frozen(known.model).requires_grad_(False)
    if wanted.model not in CLASSIFIERS:
        model.transform = Placed(size)
    known = replace(known, model=model, preprocessing=preparation)
    flow, macs = _flow(wanted.model, trunk(known.model, wanted.model), size)
    return Network(wanted.model, known, size, flow, macs)


def _size(wanted: Wanted) -> int:
    usual = SIZES.get(wanted.model, USUAL_SIZE)
    size = wanted.size or usual
    if wanted.model.startswith("ssd") and size != usual:
        raise BundleError(f"{wanted.model} takes {usual} pixels only: leave out --size")
    if not wanted.model.startswith("ssd") and size % MULTIPLE:
        raise BundleError(f"--size {size} is no multiple of {MULTIPLE}: {max(1, round(size / MULTIPLE)) * MULTIPLE} is")
    return size


def preprocessing(name: str, model: nn.Module, asked: dict[str, Any]) -> Preprocessing:
    """The model's own way with pictures, but for what was asked for."""
    if name in CLASSIFIERS:
        own = Preprocessing(fit="stretch", top=1.0, mean=IMAGENET[0], std=IMAGENET[1])
    else:
        transform: Any = model.transform
        fit = "stretch" if name.startswith("ssd") else "letterbox"
        own = Preprocessing(fit=fit, top=1.0, mean=tuple(transform.image_mean), std=tuple(transform.image_std))
    chosen = replace(own, **asked)
    chosen.check()
    return chosen


def _flow(name: str, root: nn.Module, size: int) -> tuple[Flow, dict[str, int]]:
    """What comes from what, and the multiply-adds of each step, by a run without numbers."""
    form, nodes = traced(root)
    names = {node: called for called, node in nodes.items()}
    steps = [
        Step(tuple(names[i] for i in n.all_input_nodes if i in names), (names[n],)) for n in form.nodes if n in names
    ]
    (end,) = (node for node in form.nodes if node.op == "output")
    last = tuple(names[node] for node in end.all_input_nodes)
    outputs = last
    if name not in CLASSIFIERS:
        steps.append(Step(last, (HEADS,)))
        outputs = (HEADS,)
    costs = Costs(fx.GraphModule(copy.deepcopy(root).to("meta"), form), names)
    costs.run(torch.empty(1, 3, size, size, device="meta"))
    return Flow(name, steps, steps[0].output[0], outputs, costs.shapes), costs.macs


class Costs(fx.Interpreter):
    """Notes the shape and the multiply-adds of each step."""

    def __init__(self, module: fx.GraphModule, names: dict[fx.Node, str]) -> None:
        super().__init__(module)
        # The module may hold a copy of the graph: its nodes have the same order.
        ours = [names.get(node, "") for node in next(iter(names)).graph.nodes]
        self._names = dict(zip(module.graph.nodes, ours, strict=True))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.macs: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one step."""
        name = self._names[n]
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        if name and isinstance(value, Tensor):
            self.shapes[name] = tuple(value.shape)
            self.macs[name] = counter.get_total_flops() // 2
        return value


def halves(wanted: Wanted, names: Sequence[str], called: str | None, asked: dict[str, Any]) -> Halves:
    """Both halves of a model. Raises BundleError saying what does not fit."""
    network = read(wanted)
    network.flow.check(names)
    known = network.known
    taken = replace(known.preprocessing, **asked)
    taken.check()
    front = export(network, names)
    half, macs_back = _checked(network, names, front)
    return Halves(
        name=called or network.name,
        detector={
            "name": network.name,
            "labels": list(known.labels),
            "coco_ids": list(known.coco_ids),
            **known.suppression,
        },
        input=taken.input(network.size),
        cut={
            "tensors": tensors(list(names), [network.flow.shapes[name][1:] for name in names]),
            "macs_front": multiply_adds(network, names),
            "macs_back": macs_back,
        },
        back={"runtime": "torchvision", "model": network.name, "classes": known.classes, "kept": list(known.kept)},
        files={
            "front.onnx": ("both", written(prepend(front, taken, network.size))),
            FILE: ("cloud", archive(half)),
        },
        description=f"torchvision's {network.name}, cut at {', '.join(names)}.",
    )


def multiply_adds(network: Network, names: Sequence[str]) -> int:
    """Of the front half up to these tensors."""
    return sum(network.macs.get(name, 0) for step in network.flow.front(names) for name in step.output)


def whole_multiply_adds(network: Network) -> int:
    """Of the whole model, heads included, on a blank picture."""
    blank = torch.zeros(1, 3, network.size, network.size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.known.model(blank if network.name in CLASSIFIERS else list(blank))
    return counter.get_total_flops() // 2


def export(network: Network, names: Sequence[str]) -> onnx.ModelProto:
    """The front half from a normalised picture [N, 3, size, size]."""
    root = trunk(network.known.model, network.name)
    form, nodes = traced(root)
    (end,) = (node for node in form.nodes if node.op == "output")
    end.args = (tuple(nodes[name] for name in names),)
    fx.GraphModule(root, form).graph.eliminate_dead_code()
    file = io.BytesIO()
    with warnings.catch_warnings():  # that a newer exporter exists, and that shapes become constants, as they shall
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fx.GraphModule(root, form).eval(),
            (torch.zeros(1, 3, network.size, network.size),),
            file,
            input_names=["picture"],
            output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in ("picture", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


def _checked(network: Network, names: Sequence[str], front: onnx.ModelProto) -> tuple[Half, int]:
    """The back half and its multiply-adds. Raises BundleError if both halves are not the whole to `graph.TOLERANCE`."""
    model = network.known.model
    shape = (1, 3, network.size, network.size)
    picture = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    with torch.no_grad():
        expected = flat(trunk(model, network.name)(torch.from_numpy(picture)))
        half = halved(copy.deepcopy(model), network.name, names, network.size).eval()
        cut = [torch.from_numpy(t) for t in graph.session(front).run(list(names), {"picture": picture})]
        rest = half.model if network.name in CLASSIFIERS else half.model.backbone.tail
        error = graph.difference((t.numpy() for t in flat(rest(*cut))), (t.numpy() for t in expected))
        if not error <= graph.TOLERANCE:
            raise BundleError(f"the halves of {network.name} differ from the whole by {error:.2g}: cut elsewhere")
        with FlopCounterMode(display=False) as counter:
            half(cut)
    return half, counter.get_total_flops() // 2


def flat(features: Any) -> list[Tensor]:
    """A backbone's features as a list."""
    return list(features.values()) if isinstance(features, dict) else [features]


def archive(half: Half) -> bytes:
    """back.npz, the same bytes for the same weights."""
    file = io.BytesIO()
    np.savez(file, **{name: value.numpy() for name, value in half.state_dict().items()})
    return file.getvalue()
