"""Whatever layers were trained, as a bundle: which family a checkpoint is of says what its weights are called."""

from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from common.bundle import Bundle
from common.errors import MidstreamError
from common.layers import NOISY
from train.bundles import pictures, scalable
from train.bundles.denoise import Denoising
from train.bundles.frequency import Frequencies
from train.bundles.onnx_files import plain
from train.bundles.pictures import Alone, Codec, Pixels
from train.bundles.progress import track
from train.nets.denoise import Denoise
from train.nets.frequency import Frequency
from train.nets.passes import passes_of
from train.nets.picture import depths_of, told_of
from train.nets.scalable import PictureLayer, Scalable
from train.trial import restored, training

Weights = Mapping[str, Tensor]


def build(
    checkpoint: Path, source: Bundle, name: str, measured: Path | None, out: Path, *,
    photos: int = 96, limit: int = 64, console: Console | None = None,
) -> Bundle:  # fmt: skip
    """Write the bundle of trained layers on the detector of `source` below `out`.

    Layers upon a base layer of their own are measured on the pictures `measured`, the others leave the features as
    they are. Raises MidstreamError.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    model = loaded(checkpoint)
    if not isinstance(model, Scalable):
        seen = [*track(training(photos), "photos", console)]
        return pictures.build(codec(model, seen), source, name, out, console)
    if measured is None:
        raise MidstreamError("this family codes features, too: name pictures to measure on with --validate")
    return scalable.build(model, source, name, measured, out, photos=photos, limit=limit, console=console)


def codec(model: nn.Module, seen: list[Pixels], eight_bits: bool = True) -> Codec:
    """A codec of pictures with its weights as they ship, beside training photos."""
    # Noise has no large values that a coarse transform would blur.
    ready = plain(model, eight_bits, (f"{NOISY}.",))
    if isinstance(ready, Denoise):
        return Denoising(ready, seen)
    if isinstance(ready, Frequency):
        return Frequencies(ready, seen)
    assert isinstance(ready, PictureLayer)
    return Alone(ready, seen)


def loaded(checkpoint: Path) -> Scalable | Frequency | Denoise | PictureLayer:
    """The averaged weights of a run. Raises MidstreamError if they are of nothing that layers are made of."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"]
    if "base.blank" in weights:
        return scalable.loaded(checkpoint)
    model = _model(weights)
    if model is None:
        raise MidstreamError(f"{checkpoint} is of no layers: those of scalable2, frequency, denoise and plain are")
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _model(weights: Weights) -> Frequency | Denoise | PictureLayer | None:
    """An empty one of the family and the sizes of these weights."""
    if "low.spread" in weights:
        low, high = (passes_of(weights, f"{name}.") for name in ("low", "high"))
        return Frequency(len(weights["low.spread"]), len(weights["high.spread"]), (low, high))
    if "noisy.latent.spread" in weights:
        return Denoise(
            len(weights["clean.latent.spread"]),
            len(weights["noisy.latent.spread"]),
            depths_of(weights, "clean."),
            passes_of(weights, "clean.latent."),
            told_of(weights, "clean."),
        )
    return restored(weights) if "latent.spread" in weights else None
