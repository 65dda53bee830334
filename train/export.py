"""A trained detector as two ONNX files and the statistics of its cut: the ingredients of a bundle.

Batch norms are folded and weights are stored in half precision behind a Cast to float32, which ONNX Runtime
computes once at load: half the bytes, the arithmetic unchanged. `Halves` holds the very weights that are
stored, so that the files can be checked against it. The bundle itself is made by `train.bundles`.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.coco import LABELS, letterbox, photos
from bench.networks import session
from common.geometry import GREY
from train.nets.detector import Back, Detector, Front, boxes_of, cells

SIZE = 320
OPSET = 17
CALIBRATION_PHOTOS = 300
UNPROVEN = ("bicycle", "dog")
"""Classes that are trained but not shipped: their AP50 on the held-out photos was .004 and 0."""
SHIPPED = tuple(label for label in LABELS if label not in UNPROVEN)


class EdgeHalf(nn.Module):
    """Bytes in, cut out: image [N,320,320,3] uint8 RGB -> cut [N,C,40,40]."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front

    def forward(self, image: Tensor) -> Tensor:
        """Return the cut tensor."""
        return self.front(image.permute(0, 3, 1, 2).float() / 255)


class CloudHalf(nn.Module):
    """Cut in, scores [N,A,shipped classes] in 0..1 and boxes [N,A,4] (x1, y1, x2, y2 in network pixels) out."""

    def __init__(self, back: Back, classes: int) -> None:
        super().__init__()
        self.back, self.classes = back, classes
        self.shipped = [LABELS.index(label) for label in SHIPPED]
        centres, strides = cells(SIZE)
        self.register_buffer("centres", centres)
        self.register_buffer("strides", strides)

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and boxes of all cells; thresholds and suppression are the caller's."""
        raw = self.back(cut)
        scores, sides = raw[..., self.shipped].sigmoid(), raw[..., self.classes :]
        return scores, boxes_of(sides, self.centres, self.strides)


class Halves:
    """The two deployed halves of a detector, batch norms folded, weights rounded to half precision."""

    def __init__(self, detector: Detector) -> None:
        whole = copy.deepcopy(detector).cpu().float().eval().requires_grad_(False)
        fold(whole)
        for parameter in whole.parameters():
            parameter.copy_(parameter.half().float())
        whole = whole.to(memory_format=torch.contiguous_format)
        self.edge = EdgeHalf(whole.front).eval()
        self.cloud = CloudHalf(whole.back, whole.classes).eval()

    def write(self, folder: Path) -> None:
        """Write front.onnx and back.onnx."""
        image = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
        export(self.edge, image, folder / "front.onnx", "image", ["cut"])
        export(self.cloud, self.edge(image), folder / "back.onnx", "cut", ["scores", "boxes"])


def fold(module: nn.Module) -> None:
    """Fold every batch norm into the convolution before it, in place."""
    for child in module.children():
        if isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[1], nn.BatchNorm2d):
            child[0], child[1] = fuse_conv_bn_eval(child[0], child[1]), nn.Identity()
        else:
            fold(child)


def export(half: nn.Module, example: Tensor, path: Path, source: str, results: list[str]) -> None:
    """Write one half as ONNX with a free batch size and half-precision weights; replace `path` in one move."""
    partial = path.with_suffix(".partial")
    torch.onnx.export(
        half,
        (example,),
        str(partial),
        input_names=[source],
        output_names=results,
        dynamic_axes={name: {0: "batch"} for name in [source, *results]},
        opset_version=OPSET,
        dynamo=False,  # the graph comes out as written, and needs no onnxscript
    )
    model = onnx.load(partial)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, partial)
    partial.replace(path)


def halve(model: onnx.ModelProto) -> None:
    """Store every large float32 weight as float16 followed by a Cast, in place, where no digit is lost."""
    casts = []
    for weight in model.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.dtype != np.float32 or value.size < 64 or np.any(value.astype(np.float16) != value):
            continue
        small = numpy_helper.from_array(value.astype(np.float16), weight.name + ".half")
        casts.append(helper.make_node("Cast", [small.name], [weight.name], to=TensorProto.FLOAT))
        weight.CopyFrom(small)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def calibrate(cuts: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return the moments of cut tensors [C,H,W] of many photos: of all elements and by channel."""
    count, total, square = 0, np.float64(0), np.float64(0)
    low, high = np.float64(np.inf), np.float64(-np.inf)
    for cut in cuts:
        values = cut.reshape(len(cut), -1).astype(np.float64)
        count += values.shape[1]
        total, square = total + values.sum(1), square + (values**2).sum(1)
        low, high = np.minimum(low, values.min(1)), np.maximum(high, values.max(1))
    mean, second = total / count, square / count
    return {
        "mean": np.asarray(mean.mean()),
        "variance": np.asarray(second.mean() - mean.mean() ** 2),
        "channel_mean": mean,
        "channel_variance": second - mean**2,
        "channel_min": low,
        "channel_max": high,
        "count": np.asarray(float(count * len(mean))),
    }


def export_run(checkpoint: Path, folder: Path) -> None:
    """Export the averaged weights of a training run, calibrated on photos of the training set."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    detector = Detector(len(LABELS))
    detector.load_state_dict(state["ema"])
    seen = photos(listing="instances_train.json")
    chosen = np.random.default_rng(0).choice(len(seen), CALIBRATION_PHOTOS, replace=False)
    write(detector, (letterbox(seen[i].picture()) for i in chosen), folder)
    print(f"step {state['step']} exported to {folder}")


def write(detector: Detector, images: Iterable[NDArray[np.uint8]], folder: Path) -> None:
    """Write front.onnx, back.onnx, calibration.npz and meta.json for a trained detector."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = Halves(detector)
    halves.write(folder)
    front = session(folder / "front.onnx")
    partial = folder / "calibration.partial.npz"
    np.savez(partial, **calibrate(front.run(None, {"image": image[None]})[0][0] for image in images))
    partial.replace(folder / "calibration.npz")
    cut = halves.edge(torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))
    meta = {
        "detector": "midstream-embedded",
        "labels": SHIPPED,
        "input": {"name": "image", "size": [SIZE, SIZE], "layout": "NHWC", "dtype": "uint8", "order": "RGB"},
        "letterbox": {"place": "centre", "fill": GREY, "resample": "bilinear"},
        "cut": {"name": "cut", "shape": list(cut.shape[1:])},
        "outputs": {"scores": "probability [N,A,classes]", "boxes": "xyxy network pixels [N,A,4]"},
        "activation": {"name": "leaky_relu", "slope": 0.1},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
