"""The back half of a bundle as something to differentiate: from the cut to raw scores and boxes, in torch.

Only calibration needs it: how much the detector cares about each direction at the cut is a gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from common.bundle import Bundle
from common.errors import BundleError

LIKELY = 1000
"""Of Faster R-CNN's anchors, how many count: the likeliest to be proposed."""
TorchBack = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""The cut's tensors, each [N, ...], to scores [N, A, L] in 0..1 and boxes [N, A, 4] in network pixels."""


def torch_back(bundle: Bundle) -> TorchBack:
    """The back half, before any suppression. Raises BundleError if it has no form in torch."""
    return FORMS[bundle.manifest.back.runtime](bundle)


def _onnx(bundle: Bundle) -> TorchBack:
    from onnx2torch import convert
    from onnx2torch.node_converters.slice import OnnxSlice

    model = onnx.load(bundle.file("back.onnx"))
    unpack_weights(model)
    try:
        module = convert(model).eval().requires_grad_(False)
    except (NotImplementedError, RuntimeError, ValueError, KeyError, AttributeError) as e:
        raise BundleError(f"back.onnx of {bundle!r} cannot be differentiated, so not calibrated: {e}") from e
    for name, child in list(module.named_modules()):
        if isinstance(child, OnnxSlice):
            module.set_submodule(name, Slice())
    place = {value.name: i for i, value in enumerate(model.graph.input)}
    order = [bundle.manifest.cut.names.index(name) for name in sorted(place, key=lambda name: place[name])]
    return OnnxBack(module, order, [output.name for output in model.graph.output])


class OnnxBack(nn.Module):
    """A back half in ONNX. Like every module it can be moved to another device."""

    def __init__(self, graph: nn.Module, order: Sequence[int], outputs: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.order, self.outputs = graph, order, outputs

    def forward(self, cut: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """As `TorchBack` says."""
        found = dict(zip(self.outputs, self.graph(*(cut[i] for i in self.order)), strict=True))
        return found["scores"], found["boxes"]


def unpack_weights(model: onnx.ModelProto) -> None:
    """Weights kept in float16 and widened by the graph become float32 weights: onnx2torch wants them as such."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    widened = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in weights]
    for node in widened:
        values = numpy_helper.to_array(weights[node.input[0]])
        kind = onnx.helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(kind), node.output[0]))
        model.graph.node.remove(node)


class Slice(nn.Module):
    """ONNX's Slice; onnx2torch's indexes by lists, which torch gives another meaning."""

    def forward(
        self, tensor: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        """The part of the tensor from starts to ends along axes. Raises ValueError where a step goes backwards."""
        along = range(len(starts)) if axes is None else axes.tolist()
        strides = [1] * len(starts) if steps is None else steps.tolist()
        index = [slice(None)] * tensor.dim()
        for axis, start, end, stride in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
            index[axis] = slice(start, end, stride)
        return tensor[tuple(index)]


def _torchvision(bundle: Bundle) -> TorchBack:
    from cloud.torchvision_back import ClassifierHalf, half_of

    half = half_of(bundle)
    kept = list(bundle.manifest.back.kept)
    if isinstance(half, ClassifierHalf):

        def classify(cut: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            scores = half.model(*cut).softmax(1)[:, None, kept]
            size = float(bundle.manifest.input.width)
            return scores, torch.tensor([0.0, 0.0, size, size]).expand(len(scores), 1, 4)

        return classify
    raw = RAW[type(half.model).__name__]

    def detect(cut: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        model: Any = half.model
        blank = [torch.zeros(1).expand(3, half.size, half.size)] * len(cut[0])
        images, _ = model.transform(blank)
        model.backbone.cut = list(cut)
        features = model.backbone(images.tensors)
        scores, boxes = raw(model, images, features)
        return scores[..., kept], boxes

    return detect


def _anchored(model: Any, images: Any, features: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
    levels = list(features.values())
    return model.head(levels), model.anchor_generator(images, levels)


def _retinanet(model: Any, images: Any, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    said, anchors = _anchored(model, images, features)
    return said["cls_logits"].sigmoid(), _decoded(model.box_coder, said["bbox_regression"], anchors)


def _fcos(model: Any, images: Any, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    said, anchors = _anchored(model, images, features)
    scores = (said["cls_logits"].sigmoid() * said["bbox_ctrness"].sigmoid()).sqrt()
    boxes = [model.box_coder.decode(d, a) for d, a in zip(said["bbox_regression"], anchors, strict=True)]
    return scores, torch.stack(boxes)


def _ssd(model: Any, images: Any, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    said, anchors = _anchored(model, images, features)
    return said["cls_logits"].softmax(-1), _decoded(model.box_coder, said["bbox_regression"], anchors)


def _faster_rcnn(model: Any, images: Any, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The best proposals of each frame with the box of their likeliest class, and the likeliest anchors.

    Which regions are proposed matters, too: an anchor's objectness counts as its score for every class, shared out.
    """
    levels = list(features.values())
    objectness, deltas = model.rpn.head(levels)
    with torch.no_grad():
        proposals, _ = model.rpn(images, features)
        fewest = min(len(boxes) for boxes in proposals)
        proposals = [boxes[:fewest] for boxes in proposals]
    heads, frames = model.roi_heads, len(images.image_sizes)
    pooled = heads.box_roi_pool(features, proposals, images.image_sizes)
    logits, moves = heads.box_predictor(heads.box_head(pooled))
    scores = logits.softmax(-1)
    boxes = heads.box_coder.decode(moves, proposals)
    best = scores[:, 1:].argmax(1) + 1
    boxes = boxes[torch.arange(len(boxes)), best].reshape(frames, fewest, 4)
    scores = scores.reshape(frames, fewest, -1)
    anchors = model.rpn.anchor_generator(images, levels)
    proposed = torch.cat([_flat(level, 1) for level in objectness], 1).sigmoid()
    moved = _decoded(model.rpn.box_coder, torch.cat([_flat(level, 4) for level in deltas], 1), anchors)
    likely = proposed.topk(min(LIKELY, proposed.shape[1]), dim=1).indices.sort(1).values
    proposed, moved = proposed.gather(1, likely), moved.gather(1, likely.expand(*likely.shape[:2], 4))
    shared = proposed.expand(*proposed.shape[:2], scores.shape[-1]) / scores.shape[-1]
    return torch.cat([scores, shared], 1), torch.cat([boxes, moved], 1)


def _flat(level: Tensor, width: int) -> Tensor:
    """[N, anchors x width, H, W] as [N, H x W x anchors, width], the order of the anchors."""
    frames, channels, height, breadth = level.shape
    return (
        level.view(frames, channels // width, width, height, breadth).permute(0, 3, 4, 1, 2).reshape(frames, -1, width)
    )


def _decoded(coder: Any, moves: Tensor, anchors: list[Tensor]) -> Tensor:
    return torch.stack([coder.decode_single(m, a) for m, a in zip(moves, anchors, strict=True)])


RAW: dict[str, Callable[[Any, Any, dict[str, Tensor]], tuple[Tensor, Tensor]]] = {
    "RetinaNet": _retinanet,
    "FCOS": _fcos,
    "SSD": _ssd,
    "FasterRCNN": _faster_rcnn,
}
FORMS: dict[str, Callable[[Bundle], TorchBack]] = {"onnx": _onnx, "torchvision": _torchvision}
