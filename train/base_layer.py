"""Training of the base layer: features at the cut in, bits and what the detector makes of it out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.networks import shipped
from bench.settings import data_root
from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec import coefficients
from common.codec.transform import Transform
from train.bundles.torch_back import TorchBack, torch_back
from train.cuts import EXCLUDED, Cuts, cuts
from train.nets.features import PATCH, matrices, start, start_of
from train.nets.scalable import Decoded, FeatureLayer

UNIT = 352
"""The quality at which the step is 1: qualities mean the same steps as the transform codec's."""
QUALITIES = (112, 352)
SMALLEST = 4.0
"""Network pixels: smaller boxes count as of this size."""
UNIT_ERROR = 6.5e-6
"""What an error of one in the latent (a step at UNIT) does to the outputs' squared distance, for small errors."""
LINEAR = 0.1
"""How much an error counts for being one, whatever the detector makes of it."""


def step_of(quality: Tensor) -> Tensor:
    """Steps, in units of the finest, of qualities."""
    return torch.exp2((UNIT - quality) / 64)


def base_layer(codec: Transform, size: Tensor, channels: int = 192) -> FeatureLayer:
    """A base layer that stands where the transform codec stands; `size` [C] is the features' standard deviation."""
    basis = codec.tensors[0].basis
    layer = FeatureLayer(basis.shape, channels, hyper=24, width=64)
    layer.latent.set_spread(start(layer.analysis, layer.transform, start_of(basis, UNIT, size)))
    layer.blank.copy_(torch.from_numpy(basis.blank.astype(np.float32)))
    return layer


class Outputs:
    """How far what the detector says of decoded features is from what it says of the original ones.

    Squared differences of scores, and of box edges in units of the box's size, weighted by its score: the metric in
    which the transform codec's basis was found, without its linearisation.
    """

    def __init__(self, back: TorchBack) -> None:
        self.back = back

    def to(self, device: torch.device) -> "Outputs":
        """The same on this device: a back half that is a module is moved there, one that is none stays."""
        return Outputs(self.back.to(device)) if isinstance(self.back, nn.Module) else self

    def __call__(self, decoded: Tensor, features: Tensor) -> Tensor:
        """Return the distance of each frame [N]."""
        with torch.no_grad():
            scores, boxes = (out.float() for out in self.back([features]))
            sure = scores.amax(2, keepdim=True)
            size = (boxes[..., 2:] - boxes[..., :2]).clamp_min(SMALLEST)
        found, moved = (out.float() for out in self.back([decoded]))
        edges = (moved - boxes) / torch.cat((size, size), 2) * sure
        return (found - scores).square().sum((1, 2)) + edges.square().sum((1, 2))


@dataclass(frozen=True)
class Distance:
    """The base layer's loss."""

    outputs: Outputs
    basis: Tensor
    """[P, C*16]: an error of the features in the metric of the outputs, in units of the latent."""

    def to(self, device: torch.device) -> "Distance":
        """The same on this device."""
        return Distance(self.outputs.to(device), self.basis.to(device))

    def parts(self, decoded: Decoded, features: Tensor, steps: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Thousands of bits and the weighted distances, means over the frames."""
        far = self.outputs(decoded.features, features)
        wrong = F.pixel_unshuffle(decoded.features.float() - features, PATCH) * mask
        off = torch.einsum("pc,ncij->npij", self.basis, wrong).square().sum((1, 2, 3))
        weight = 6 / np.log(2) / steps.square() / 1000
        return {
            "bits": decoded.bits.mean() / 1000,
            "outputs": (weight * far / UNIT_ERROR).mean(),
            "linear": LINEAR * (weight * off).mean(),
        }


class BaseTask:
    """Bits + lambda * distance at the outputs, a quality drawn for every frame."""

    def __init__(self, pool: Cuts, model: FeatureLayer, distance: Distance, batch: int, seed: int) -> None:
        self.pool, self.model, self.distance, self.size, self.seed = pool, model, distance, batch, seed
        shares = {"coco_train2017": 6.0, "imagenet_sample": 1.0, "pennfudan": 1.5, "street": 1.0}
        weights = np.array([0.0 if s in EXCLUDED else shares.get(s, 0.4) for s in pool.sources])
        self.weights = weights / weights.sum()

    def to(self, device: torch.device) -> None:
        """The loss is computed there from now on."""
        self.distance = self.distance.to(device)

    def batch(self, step: int, progress: float) -> Any:
        """Features, masks and qualities of a few frames."""
        rng = np.random.default_rng((self.seed, step))
        photos = rng.choice(len(self.weights), self.size, p=self.weights)
        rows = 2 * photos + rng.integers(0, 2, self.size)
        qualities = rng.uniform(*QUALITIES, self.size).astype(np.float32)
        return *self.pool.seen(rows), torch.from_numpy(qualities)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Thousands of bits and the weighted distances, means over the frames."""
        features, mask, quality = batch
        features = features.to(memory_format=torch.channels_last)
        steps = step_of(quality)
        decoded = self.model(features, steps, mask)
        return self.distance.parts(decoded, features, steps, mask)


@dataclass(frozen=True)
class Stand:
    """What every recipe with a base layer needs: the detector, the photos at its cut, and the loss."""

    bundle: Bundle
    codec: Transform
    pool: Cuts
    distance: Distance


def stand(cache: Path) -> Stand:
    """The embedded detector, and `data_root`'s photos as it sees them."""
    bundle = bundles.load(shipped(), "both")
    codec = feature_codec.of(bundle)
    assert isinstance(codec, Transform)
    basis = torch.from_numpy(matrices(codec.tensors[0].basis)[0]) / float(coefficients.step_of(UNIT))
    return Stand(bundle, codec, cuts(bundle, data_root(), cache), Distance(Outputs(torch_back(bundle)), basis))
