"""An ONNX file of a whole detector, cut in two: preprocessing before the front half, the head behind the back half."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from bench.macs import of_nodes
from common.errors import BundleError
from train.bundles import graph, heads, labels
from train.bundles.halves import Halves, tensors
from train.bundles.heads import HEADS, Head
from train.bundles.preprocess import Preprocessing, prepend


@dataclass(frozen=True)
class Wanted:
    """What a person asked for; None is the head's default."""

    cut: tuple[str, ...]
    head: str
    labels: Path | None = None
    name: str | None = None
    preprocessing: dict[str, Any] | None = None


def halves(path: Path, wanted: Wanted) -> Halves:
    """Both halves of the network in an ONNX file. Raises BundleError saying what does not fit."""
    head = head_named(wanted.head)
    network = graph.read(path)
    names = labels.read(wanted.labels)
    front, back = graph.cut(network, wanted.cut)
    graph.check_halves(network, front, back)
    shapes = network.flow.shapes
    macs, total = multiply_adds(network, wanted.cut)
    back = graph.free_batch(heads.append(back, wanted.head, shapes, network.size, len(names)))
    taken = preprocessing(head, wanted)
    return Halves(
        name=wanted.name or path.stem,
        detector=detector(path.stem, names, head),
        input=taken.input(network.size),
        cut={
            "tensors": tensors(list(wanted.cut), [shapes[name][1:] for name in wanted.cut]),
            "macs_front": macs,
            "macs_back": total - macs,
        },
        back={},
        files={
            "front.onnx": ("both", written(prepend(front, taken, network.size))),
            "back.onnx": ("both", written(back)),
        },
        description=f"{path.stem}, cut at {', '.join(wanted.cut)}.",
    )


def multiply_adds(network: graph.Network, names: Sequence[str]) -> tuple[int, int]:
    """Of the front half up to these tensors, and of the whole network."""
    nodes = network.model.graph.node
    shapes = {**network.flow.shapes, **{w.name: tuple(w.dims) for w in network.model.graph.initializer}}
    return of_nodes(network.flow.front(names), shapes), of_nodes(nodes, shapes)


def head_named(name: str) -> Head:
    """The head of this name. Raises BundleError."""
    if name not in HEADS:
        raise BundleError(f"there is no head {name!r}: choose one with --head {'|'.join(HEADS)}")
    return HEADS[name]


def preprocessing(head: Head, wanted: Wanted) -> Preprocessing:
    """The head's way with pictures, but for what was asked for."""
    chosen = replace(head.preprocessing, **(wanted.preprocessing or {}))
    chosen.check()
    return chosen


def detector(name: str, names: Sequence[str], head: Head) -> dict[str, Any]:
    """The manifest's [detector] table."""
    return {
        "name": name[:64],
        "labels": list(names),
        "coco_ids": labels.coco_ids(tuple(names)),
        "score_threshold": head.score_threshold,
        "nms_iou": head.nms_iou,
        "max_detections": 100,
    }


def written(model: ModelProto) -> bytes:
    """The file, checked."""
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
