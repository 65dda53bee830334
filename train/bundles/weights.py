"""Where a torchvision model's weights come from: torchvision's own, fetched once, or a file."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from cloud.torchvision_back import CLASSIFIERS, whole
from common.errors import BundleError
from train.bundles import labels as naming
from train.bundles.preprocess import Preprocessing

DEFAULT = "DEFAULT"
COCO_CLASSES = 91
"""torchvision counts COCO's category ids, of which some are not in use, and the background as 0."""
WITHOUT_EPSILON = ("retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn")
SCORE = 0.1
"""The least a detection is kept with, where the model itself does not ask for more."""


@dataclass(frozen=True)
class Pretrained:
    """A model and what its classes mean."""

    model: nn.Module
    classes: int
    labels: tuple[str, ...]
    kept: tuple[int, ...]
    """Which of the model's classes the labels are."""
    coco_ids: tuple[int, ...]
    suppression: dict[str, Any]
    """Thresholds, as the manifest's [detector] has them."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def pretrained(name: str, weights: str | None, labels: Path | None) -> Pretrained:
    """The model with these weights: DEFAULT, the path of a state dict, or None for whatever they are at random.

    Raises BundleError saying what to do.
    """
    if weights == DEFAULT and labels is not None:
        raise BundleError("torchvision's own weights have their own labels: leave out --labels, or name your --weights")
    known = naming.read(labels) if labels is not None else None
    if name in CLASSIFIERS:
        names = known or tuple(get_model_weights(name).DEFAULT.meta["categories"])  # type: ignore[attr-defined]
        model = _loaded(name, weights, len(names))
        return Pretrained(model, len(names), names, tuple(range(len(names))), (), _suppression(model, name))
    if known is not None:
        classes, kept = len(known) + 1, tuple(range(1, len(known) + 1))
    else:
        known, classes, kept = tuple(naming.COCO), COCO_CLASSES, tuple(naming.COCO.values())
    model = _loaded(name, weights, classes)
    return Pretrained(model, classes, known, kept, tuple(naming.coco_ids(known)), _suppression(model, name))


def _loaded(name: str, weights: str | None, classes: int) -> nn.Module:
    model = whole(name, classes)  # first, because it knows the names
    if weights is None:
        return model
    return _fetched(name) if weights == DEFAULT else _from_file(model, name, Path(weights))


def _fetched(name: str) -> nn.Module:
    try:
        return get_model(name, weights=DEFAULT).eval()
    except (URLError, OSError, RuntimeError) as e:
        raise BundleError(
            f"cannot fetch torchvision's weights of {name} ({getattr(e, 'reason', e)}): connect to the network, "
            "or name a file that holds them with --weights FILE"
        ) from e


def _from_file(model: nn.Module, name: str, path: Path) -> nn.Module:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise BundleError(f"cannot read the weights in {path}: {e.strerror or e}") from e
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise BundleError(f"{path} is no state dict that torch.save wrote: {str(e).splitlines()[0]}") from e
    state = state.get("model", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BundleError(f"{path} holds no state dict: save model.state_dict(), or that under the key 'model'")
    try:
        absent, foreign = model.load_state_dict(state, strict=False)
    except RuntimeError as e:  # sizes differ
        raise BundleError(
            f"{path} is for other classes than {name} with these labels; give its own with --labels: {e}"
        ) from e
    # Frozen batch norms, which torchvision itself trains with, do not count.
    odd = [key for key in absent if not key.endswith("num_batches_tracked")] + list(foreign)
    if odd:
        raise BundleError(f"{path} is no state dict of {name}: only one of them has {odd[0]} and {len(odd) - 1} more")
    _as_trained(model, name, path)
    return model


def _as_trained(model: nn.Module, name: str, path: Path) -> None:
    """The oldest of torchvision's weights came of batch norms without an epsilon; their file is known by its name."""
    for each in get_model_weights(name):
        if name in WITHOUT_EPSILON and each.name == "COCO_V1" and Path(each.url).name == path.name:
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = 0.0


def _suppression(model: nn.Module, name: str) -> dict[str, Any]:
    if name in CLASSIFIERS:
        return {"score_threshold": 0.05, "nms_iou": 1.0, "max_detections": 5}
    says: Any = getattr(model, "roi_heads", model)
    return {
        "score_threshold": max(SCORE, says.score_thresh),
        "nms_iou": says.nms_thresh,
        "max_detections": says.detections_per_img,
    }
