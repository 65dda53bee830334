"""From the picture the edge has to what a network was trained on, as nodes before its front half."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, helper

from common.errors import BundleError
from common.geometry import GREY, Fit
from common.network.front import INPUT
from train.bundles.nodes import Nodes

Order = Literal["rgb", "bgr"]
ORDERS = get_args(Order)
FITS = get_args(Fit)


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its pictures: values in 0..`top`, less `mean`, divided by `std`, channels in `order`."""

    fit: Fit = "letterbox"
    pad: int = GREY
    order: Order = "rgb"
    top: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """In `order`, as the network's authors write it."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def check(self) -> None:
        """Raise BundleError if no picture can be prepared so."""
        if len(self.mean) != 3 or len(self.std) != 3:
            raise BundleError(
                f"--mean and --std need three numbers each, like 0.5,0.5,0.5, not {self.mean} and {self.std}"
            )
        if not np.isfinite(self.mean).all():
            raise BundleError(f"--mean needs finite numbers, not {self.mean}")
        if not np.isfinite(self.std).all() or min(map(abs, self.std)) < 1e-9:
            raise BundleError(f"--std needs finite numbers other than 0, not {self.std}")
        if not np.isfinite(self.top) or self.top <= 0:
            raise BundleError(f"--range needs a finite number above 0, not {self.top}")

    def input(self, size: int) -> dict[str, Any]:
        """The manifest's [input] table."""
        return {"width": size, "height": size, "fit": self.fit, "pad": self.pad}


def prepend(front: ModelProto, want: Preprocessing, size: int) -> ModelProto:
    """The front half from `image`, uint8 [N, size, size, 3] RGB, instead of what it was trained on."""
    want.check()
    (taken,) = front.graph.input
    # Bytes are a quarter of floats: they are moved around first and become floats last.
    nodes = Nodes("input")
    tensor = nodes("Transpose", INPUT, perm=[0, 3, 1, 2])
    if want.order == "bgr":
        tensor = nodes("Gather", tensor, np.array([2, 1, 0], np.int64), axis=1)
    tensor = nodes("Cast", tensor, to=TensorProto.FLOAT)
    scale = 255.0 / want.top  # (v / scale - mean) / std = (v - mean scale) / (std scale)
    if any(want.mean):
        tensor = nodes("Sub", tensor, _channels(want.mean, scale))
    tensor = nodes("Div", tensor, _channels(want.std, scale))
    for node in front.graph.node:  # the network's own name may be `image`, too
        for i, name in enumerate(node.input):
            if name == taken.name:
                node.input[i] = tensor
    nodes.before(front)
    batch = taken.type.tensor_type.shape.dim[0]
    picture = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch.dim_param or 1, size, size, 3])
    del front.graph.input[:]
    front.graph.input.append(picture)
    return front


def _channels(values: tuple[float, ...], scale: float) -> np.ndarray:
    return (np.array(values, np.float64) * scale).astype(np.float32).reshape(1, 3, 1, 1)
