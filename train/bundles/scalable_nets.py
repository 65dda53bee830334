"""The float networks of a family, as the files that edge and cloud open (common/scalable says what each is given).

Everything here is one of the family's own modules, or two of them that run one after the other on one side.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from common.bundle import Side
from train.bundles.onnx_files import Network
from train.nets.features import PATCH
from train.nets.latent import HyperAnalysis, Latent
from train.nets.scalable import FeatureLayer, Scalable

SIDES: dict[str, Side] = {
    "base_analysis.onnx": "edge",
    "base_lst.onnx": "both",
    "mask_analysis.onnx": "edge",
    "mask_lst.onnx": "both",
    "mask_head.onnx": "cloud",
    "full_analysis.onnx": "edge",
    "full_hyper.onnx": "edge",
    "full_synthesis.onnx": "cloud",
    "preview.onnx": "cloud",
}
"""Who needs each file."""
RESULT = "y", "z"
TOLD = "features", "context"


class Hyper(nn.Module):
    """y [N,C,H,W] -> z."""

    def __init__(self, latent: Latent) -> None:
        super().__init__()
        self.analysis: HyperAnalysis = latent.analysis
        self.register_buffer("spread", latent.spread[:, None, None].clone())

    def forward(self, y: Tensor) -> Tensor:
        """Return z."""
        return self.analysis(y / self.spread)


class Lower(nn.Module):
    """features [N,C,H,W] (and those of the layer below, decoded), mask [N,1,H/4,W/4] -> y, 0 where the mask is; z."""

    def __init__(self, layer: FeatureLayer) -> None:
        super().__init__()
        self.analysis, self.hyper = layer.analysis, Hyper(layer.latent)

    def forward(self, features: Tensor, mask: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and z."""
        y = self.analysis(features, beside) * mask
        return y, self.hyper(y)


class Raised(nn.Module):
    """y [N,C,H/4,W/4], mask (and the features of the layer below, decoded) -> features, context; both [N,...,H,W]."""

    def __init__(self, layer: FeatureLayer) -> None:
        super().__init__()
        self.transform = layer.transform
        self.register_buffer("blank", layer.blank.clone())

    def forward(self, y: Tensor, mask: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return features, those of a blank picture outside the mask, and the context."""
        decoded, context = self.transform(y, beside)
        seen = F.interpolate(mask, scale_factor=PATCH)
        return decoded * seen + self.blank * (1 - seen), context


def networks(model: Scalable, features: Tensor, mask: Tensor, x: Tensor, context: Tensor) -> dict[str, Network]:
    """The files of a family by name; the tensors are examples.

    `features` [N,C,H,W] and `mask` [N,1,H/4,W/4] of frames, a picture x [1,3,h,w] and its context [1,K,h/16,w/16].
    """
    y, _ = Lower(model.base)(features, mask)
    decoded, told = Raised(model.base)(y, mask)
    full = model.picture.analysis(x, context)
    found = {
        "base_analysis.onnx": Network(Lower(model.base), {"features": features, "mask": mask}, RESULT),
        "base_lst.onnx": Network(Raised(model.base), {"y": y, "mask": mask}, TOLD),
        "preview.onnx": Network(model.preview, {"features": decoded, "context": told}, ("x",)),
        "full_analysis.onnx": Network(model.picture.analysis, {"x": x, "context": context}, ("y",), sized=True),
        "full_hyper.onnx": Network(Hyper(model.picture.latent), {"y": full}, ("z",), sized=True),
        "full_synthesis.onnx": Network(
            model.picture.synthesis, {"y": full.round(), "context": context}, ("x",), sized=True
        ),
    }
    return found | _middle(model, features, mask, decoded)


def _middle(model: Scalable, features: Tensor, mask: Tensor, beside: Tensor) -> dict[str, Network]:
    """Those of the middle layer, if there is one; `beside` are the base layer's features."""
    if model.middle is None or model.head is None:
        return {}
    given = {"mask": mask, "beside": beside}
    y, _ = Lower(model.middle)(features, mask, beside)
    decoded, _ = Raised(model.middle)(y, mask, beside)
    return {
        "mask_analysis.onnx": Network(Lower(model.middle), {"features": features, **given}, RESULT),
        "mask_lst.onnx": Network(Raised(model.middle), {"y": y, **given}, TOLD),
        "mask_head.onnx": Network(model.head, {"features": decoded}, ("scores",)),
    }
