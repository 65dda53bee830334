"""Training of the middle layer: what masks need beyond the base layer, and the picture layer above both."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.settings import data_root
from train import base_layer
from train.calibration.basis import FLOOR, whitened
from train.crops import SIZE, crops, pictures
from train.layers import PICTURE, LayersTask
from train.loop import Plan, Run, fit
from train.masks import Masks, masks
from train.nets.blocks import quiet
from train.nets.features import PATCH, Start, start
from train.nets.scalable import Family, MaskHead, Scalable
from train.pixels import step_of
from train.warm import checkpoint, warm

UNIT = 352
QUALITIES = (160, 352)
BASE_QUALITY = (112, 352)
LINEAR = 0.05
PRICE = 0.25
"""Of an error of masks: at 1 the layer spends many bytes on what no mask shows."""
COUNTED = 256
"""Photos that the start is computed from."""
DRAWS = 2


class MiddleTask:
    """Bits + lambda * distance between masks; base layer and head stay as they are, the picture layer learns on."""

    def __init__(self, layers: LayersTask, known: Masks, unit_error: float, batch: int) -> None:
        self.layers, self.known, self.unit_error, self.size = layers, known, unit_error, batch
        self.model = layers.model

    def batch(self, step: int, progress: float) -> Any:
        """Crops with what belongs to them, and features of photos with masks."""
        rng = np.random.default_rng((self.layers.seed, step, 1))
        rows = 2 * rng.choice(self.known.photos, self.size) + rng.integers(0, 2, self.size)
        qualities = torch.from_numpy(rng.uniform(*QUALITIES, self.size).astype(np.float32))
        return self.layers.batch(step, progress), (*self.layers.cuts.seen(rows), qualities)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Thousands of bits of a frame's middle layer and of a crop, and what their errors are worth in such."""
        above, (features, mask, quality) = batch
        model = self.model
        assert model.middle is not None and model.head is not None
        with torch.no_grad():
            base = model.base(features, self._base_step(features, step), mask)
            wanted = model.head(features).softmax(1)
        steps = base_layer.step_of(quality)
        found = model.middle(features, steps, mask, base.features)
        seen = F.interpolate(mask, wanted.shape[2:])
        far = ((model.head(found.features).softmax(1) - wanted) * seen).square().sum((1, 2, 3))
        off = ((found.features - features) / model.middle.analysis.size).square().sum((1, 2, 3))
        weight = 6 / np.log(2) / steps.square() / 1000
        parts = {
            "bits": found.bits.mean() / 1000,
            "masks": PRICE * (weight * far / self.unit_error).mean(),
            "linear": LINEAR * (weight * off).mean(),
        }
        return parts | self._picture(above, step)

    def _base_step(self, features: Tensor, step: int) -> Tensor:
        """Of each frame, at a quality drawn at random."""
        rng = np.random.default_rng((self.layers.seed, step, 2))
        quality = rng.uniform(*BASE_QUALITY, len(features)).astype(np.float32)
        return base_layer.step_of(torch.as_tensor(quality, device=features.device))

    def _picture(self, batch: Any, step: int) -> dict[str, Tensor]:
        crop, features, mask, _, places, quality, chosen = batch
        model = self.model
        assert model.middle is not None
        with torch.no_grad():
            base = model.base(features, base_layer.step_of(quality), mask)
        # Whatever is asked of masks: the picture must know what it is told at every quality of either.
        shuffled = base_layer.step_of(quality.roll(1).clamp(*QUALITIES))
        under = model.middle(features, shuffled, mask, base.features, told=False)
        x = pictures(crop)
        picture_step = torch.full((len(x),), step_of(chosen), device=x.device)
        found, bits = model.picture_of(x, picture_step, under, base, places)
        error = (found - x).square().mean() * 255**2
        return {"picture_bits": bits.mean() / 1000, "picture": chosen * error * SIZE**2 / 1000}


def begin(model: Scalable, at: base_layer.Stand, known: Masks) -> float:
    """Start the middle layer at the transform of what masks need of the base's residual; return an error's price."""
    assert model.middle is not None and model.head is not None
    rows = 2 * known.photos[:: max(1, len(known.photos) // COUNTED)]
    features, mask = at.pool.seen(rows)
    with torch.no_grad():
        base = model.base.eval()(features, base_layer.step_of(torch.full((len(rows),), 224.0)), mask)
    rest = _patches(features - base.features, mask)
    slopes = torch.cat([_patches(_slope(model.head, features, seed), mask) for seed in range(DRAWS)])
    metric = (slopes.T @ slopes / len(slopes)).double().numpy()
    metric += np.eye(len(metric)) * FLOOR * np.trace(metric) / len(metric)
    stage = whitened((rest.T @ rest / len(rest)).double().numpy(), metric)
    unit = stage.sigma[0] / 45.0  # as far above a step at UNIT as the base layer's first plane
    forward, inverse = torch.from_numpy(stage.forward / unit).float(), torch.from_numpy(stage.inverse * unit).float()
    deviation = torch.from_numpy(stage.sigma / unit).float()
    base_net = model.base.analysis
    first = Start(forward, inverse, deviation, base_net.mean.flatten(), base_net.size.flatten())
    model.middle.latent.set_spread(start(model.middle.analysis, model.middle.transform, first))
    model.middle.blank.copy_(model.base.blank)
    return _unit_error(model, features, mask, base.features)


def _slope(head: MaskHead, features: Tensor, seed: int) -> Tensor:
    """The gradient of a random mixture of mask probabilities."""
    asked = features.clone().requires_grad_()
    chances = head(asked).softmax(1)
    mixture = torch.randn(chances.shape, generator=torch.Generator().manual_seed(seed))
    return torch.autograd.grad((chances * mixture).sum(), asked)[0]


def _patches(features: Tensor, mask: Tensor) -> Tensor:
    """[M, C*16]: those that see the photo."""
    split = F.pixel_unshuffle(features, PATCH).permute(0, 2, 3, 1)
    return split[mask[:, 0] > 0]


@torch.no_grad()
def _unit_error(model: Scalable, features: Tensor, mask: Tensor, below: Tensor) -> float:
    """How much squared difference of masks a unit of squared error in the latent makes, at a step of 4."""
    assert model.middle is not None and model.head is not None
    y = model.middle.analysis(features, below) * mask
    coarse = (y / 4).round() * 4
    fine, rough = (model.head(model.middle.transform(v, below)[0]).softmax(1) for v in (y, coarse))
    return float((fine - rough).square().sum() / (coarse - y).square().sum())


PLAN: dict[str, Any] = {"rate": 5e-4, "decay": 1e-4, "warmup": 50, "clip": 30.0, "ema": 0.997, "cool": 0.7}


def train_middle(out: Path, steps: int, resume: bool, threads: int | None, seed: int = 5) -> Run:
    """Train into `out`, from the weights of the recipes `finish` (scalable2) and `masks` beside it.

    Raises MidstreamError naming the recipe that is missing.
    """
    torch.manual_seed(seed)
    two_layers, head = checkpoint(out.parent, "finish", "scalable2"), checkpoint(out.parent, "masks")
    at = base_layer.stand(out.parent / "cache")
    model = Scalable(Family(at.bundle.manifest.cut.shapes[0], middle=True))
    warm(model, two_layers)
    assert model.head is not None
    warm(model.head, head)
    # What the base layer told the picture means nothing of what the middle layer will tell it.
    quiet(model.picture.analysis.hear)
    quiet(model.picture.synthesis.hear[0])
    known = masks(data_root(), at.bundle.manifest.input)
    unit_error = begin(model, at, known)
    for part in (model.base, model.head, model.preview):
        part.requires_grad_(False)
    pool = crops(data_root(), out.parent / "cache")
    layers = LayersTask(pool, at.pool, at.bundle.manifest.input, model, at.distance, 3, seed, qualities=BASE_QUALITY)
    plan = Plan(steps, threads=threads, gentle=PICTURE, **PLAN)
    return fit(MiddleTask(layers, known, unit_error, 4), plan, out, resume)
