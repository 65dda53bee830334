"""What trained layers make of pictures and frames: bits and what came back. Pictures are float32 [1,3,H,W] in 0..1.

A `Coder` looks at a picture once and then codes it at any lambda, for the analysis does not know the step.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from bench.bd import Curve
from bench.networks import Split, placed
from bench.pictures import read, thinned
from bench.score import agreement
from bench.settings import MissingDataError, data_root
from common.bundle import Bundle, Input
from train import base_layer
from train.bundles.images import load
from train.bundles.measure import Subject
from train.bundles.progress import track
from train.cuts import cells
from train.layers import in_square
from train.nets.picture import STRIDE
from train.nets.scalable import Decoded, FeatureLayer, PictureLayer, Scalable
from train.pixels import step_of

PAD = 64
"""Pixels of a hyper-latent's cell."""
HEADERS = 19 + 2 + 12
"""Bytes of a frame's container and quality, and what the ends of a rANS stream cost on average."""

At = Callable[[float], tuple[Tensor, Tensor]]
"""A lambda to a picture's reconstruction [1,3,H,W] and all its bits."""
Coder = Callable[[Tensor], At]


class Point(NamedTuple):
    """Means over the pictures."""

    rate: float
    """Bits a pixel, or bytes a frame."""
    quality: float
    """PSNR in dB, or agreement."""


def kodak(limit: int | None) -> list[Tensor]:
    """Kodak's pictures, or some of them evenly spread. Raises MidstreamError."""
    folder = data_root() / "kodak"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    if not paths:
        raise MissingDataError(f"no pictures in {folder}: Kodak's are what picture layers are compared on")
    return [tensor(read(path, stored=True)) for path in thinned(paths, limit)]


def tensor(picture: np.ndarray) -> Tensor:
    """uint8 [H,W,3] -> [1,3,H,W] in 0..1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255


@torch.no_grad()
def curve(coder: Coder, seen: Sequence[Tensor], lambdas: Sequence[float], title: str, console: Console) -> list[Point]:
    """One point for each lambda: bits a pixel and PSNR."""
    found = np.array([[_point(x, *at(w)) for w in lambdas] for x in track(seen, title, console) for at in [coder(x)]])
    return [Point(*each) for each in found.mean(0).tolist()]


def _point(x: Tensor, found: Tensor, bits: Tensor) -> Point:
    error = ((found * 255).round().clamp(0, 255) - x * 255).square().mean()
    return Point(float(bits) / x[0, 0].numel(), float(10 * torch.log10(255**2 / error)))


def curved(points: Sequence[Point]) -> Curve:
    """As deltas are computed of it."""
    return Curve((point.rate, point.quality) for point in points)


def alone(layer: PictureLayer) -> Coder:
    """A picture layer with nothing below it that is not told of the step: its latent is the same at every rate."""
    assert not layer.told

    def look(x: Tensor) -> At:
        height, width = x.shape[2:]
        y = layer.analysis(padded(x))

        def at(weight: float) -> tuple[Tensor, Tensor]:
            coded = layer.latent(y, torch.tensor([step_of(weight)]))
            return layer.synthesis(coded.y)[..., :height, :width], coded.bits + coded.side_bits

        return at

    return look


def padded(x: Tensor) -> Tensor:
    """Continued by its edge to whole cells of the hyper-latent."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % PAD, 0, -height % PAD), mode="replicate")


def above(model: Scalable, split: Split, quality: float) -> Coder:
    """A family's picture layer above its base layer at one quality, whose bits count, too."""
    taken = split.bundle.manifest.input

    def look(x: Tensor) -> At:
        height, width = x.shape[2:]
        picture = (x[0].permute(1, 2, 0) * 255).round().byte().numpy()
        (features,) = split.front.run(placed(picture, taken))
        under = based(model.base, split.bundle, features, width, height, quality)
        whole = padded(x)
        where = places(taken, width, height, whole.shape[2] // STRIDE, whole.shape[3] // STRIDE)

        def at(weight: float) -> tuple[Tensor, Tensor]:
            found, bits = model.picture_of(whole, torch.tensor([step_of(weight)]), under, under, where)
            return found[..., :height, :width], bits + under.bits

        return at

    return look


def based(
    layer: FeatureLayer, bundle: Bundle, features: np.ndarray, width: int, height: int, quality: float
) -> Decoded:
    """A picture's features [C,H,W] through the base layer."""
    window = bundle.manifest.input.window(width, height)
    mask = torch.from_numpy(cells(window, features.shape[1]))[None, None]
    decoded: Decoded = layer(torch.from_numpy(features)[None], base_layer.step_of(torch.tensor([quality])), mask)
    return decoded


def places(taken: Input, width: int, height: int, rows: int, columns: int) -> Tensor:
    """[1,rows,columns,2]: where a picture's latent cells lie in the network's square, -1 to 1, x before y."""
    x, y = ((np.arange(cells) + 0.5) * STRIDE for cells in (columns, rows))
    return torch.from_numpy(in_square(taken, width, height, x, y))[None]


class Frames:
    """Held-out photos, and what the detector finds in them uncoded: what base layers are measured on."""

    def __init__(self, bundle: Bundle, photos: Path, limit: int, console: Console) -> None:
        self.split = Split(bundle)
        self.samples = load(photos, bundle.manifest, limit, console)
        self.features = [self.split.front.run(sample.image)[0] for sample in self.samples]
        self.subject = Subject(self.split, self.samples)

    @torch.no_grad()
    def point(self, layer: FeatureLayer, quality: float) -> Point:
        """Bytes a frame and agreement of the detections."""
        sizes, found = [], []
        for sample, features in zip(self.samples, self.features, strict=True):
            width, height = sample.width, sample.height
            decoded = based(layer, self.split.bundle, features, width, height, quality)
            sizes.append(float(decoded.bits) / 8 + HEADERS)
            found.append(self.split.finish_sized([decoded.features[0].numpy()], width, height))
        return Point(float(np.mean(sizes)), agreement(self.subject.uncoded, found, self.subject.classes))
