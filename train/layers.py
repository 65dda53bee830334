"""Training of all layers of a family together: what the detector makes of the base, what the picture costs above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.settings import data_root
from common.bundle import Input
from train import base_layer
from train.base_layer import Distance
from train.crops import SIZE, Crops, crops, pictures
from train.cuts import Cuts
from train.loop import Plan, Run, fit
from train.nets.picture import STRIDE
from train.nets.scalable import Family, Scalable
from train.pixels import FINEST, step_of
from train.warm import checkpoint, warm

Places = NDArray[np.float32]
LEAST, MOST = 0.0018, FINEST
"""Lambdas of the picture."""
QUALITIES = (128, 352)
"""Qualities of the base layer."""


@dataclass(frozen=True)
class Weights:
    """What counts how much: the ICIP'21 experiment turns these."""

    picture: float = 1.0
    """w_x, of the picture's error."""
    features: float = 1.0
    """w_f, of the error of features."""
    preview: float = 2.0
    """Thousands of bits that a mean squared error of 1/100 (0..1) is worth."""


def in_square(taken: Input, width: int, height: int, x: NDArray[np.floating], y: NDArray[np.floating]) -> Places:
    """[len(y),len(x),2]: where the points of a picture of this size, in its pixels, lie in the network's square.

    -1 to 1 from edge to edge, x before y.
    """
    box = taken.box(width, height)
    across, down = box.left + x * box.width / width, box.top + y * box.height / height
    grid = np.stack(np.meshgrid(across / taken.width, down / taken.height), -1)
    return (2 * grid - 1).astype(np.float32)


class LayersTask:
    """Crops and the frames they come from; base quality and the picture's lambda are drawn for every step."""

    def __init__(
        self, crops: Crops, cuts: Cuts, taken: Input, model: Scalable, distance: Distance, batch: int, seed: int,
        weights: Weights = Weights(), qualities: Sequence[float] = QUALITIES, lambdas: Sequence[float] = (LEAST, MOST),
    ) -> None:  # fmt: skip
        self.crops, self.cuts, self.taken, self.model, self.distance = crops, cuts, taken, model, distance
        self.size, self.seed, self.weights, self.qualities, self.lambdas = batch, seed, weights, qualities, lambdas

    def to(self, device: torch.device) -> None:
        """The loss is computed there from now on."""
        self.distance = self.distance.to(device)

    def batch(self, step: int, progress: float) -> Any:
        """Crops, the features and views of their photos, places, base qualities, one lambda."""
        rng = np.random.default_rng((self.seed, step))
        rows = np.sort(rng.choice(len(self.crops), self.size, replace=False))
        where = self.crops.where[rows]
        photos = 2 * where["photo"] + where["mirror"]
        places = torch.from_numpy(np.stack([self.places(one) for one in where]))
        low, high = np.log(self.lambdas[0]), np.log(self.lambdas[-1])
        chosen = float(np.exp(rng.uniform(low, high)))
        qualities = torch.from_numpy(rng.uniform(*self.qualities, self.size).astype(np.float32))
        return (
            torch.from_numpy(self.crops.pixels[rows]), *self.cuts.seen(photos), self.cuts.views_of(photos),
            places, qualities, chosen,
        )  # fmt: skip

    def places(self, where: np.void) -> Places:
        """[16,16,2]: where the crop's cells lie in the network's square, -1 to 1."""
        width, height = self.cuts.sizes[where["photo"]]
        centre = (np.arange(SIZE // STRIDE) + 0.5) * STRIDE * where["scale"]
        return in_square(self.taken, int(width), int(height), where["x"] + centre, where["y"] + centre)

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """Thousands of bits of a frame's base and of a crop, and what their errors are worth in such."""
        crops, features, mask, views, places, quality, chosen = batch
        x = pictures(crops)
        features = features.to(memory_format=torch.channels_last)
        steps = base_layer.step_of(quality)
        base = self.model.base(features, steps, mask, told=self.model.family.shared)
        parts = self.distance.parts(base, features, steps, mask)
        parts = {name: part * (1 if name == "bits" else self.weights.features) for name, part in parts.items()}
        shared = self.model.family.shared
        shown = self.model.preview(base.features if shared else base.features.detach(), base.context)
        parts["preview"] = self.weights.preview * 100 * (shown - views).square().mean()
        picture_step = torch.full((len(x),), step_of(chosen), device=x.device)
        found, bits = self.model.picture_of(x, picture_step, base, base, places)
        error = (found - x).square().mean() * 255**2
        parts["picture_bits"] = bits.mean() / 1000
        parts["picture"] = self.weights.picture * chosen * error * SIZE**2 / 1000
        return parts


PICTURE = (
    "picture.latent.",
    *(f"picture.analysis.{part}." for part in ("linear", "quarter", "eighth", "leave")),
    *(f"picture.synthesis.{part}." for part in ("linear", "enter", "eighth", "quarter", "leave")),
)
"""What the picture layer knows from its own training: all but what hears the layers below."""
KNOWING = (
    "base.analysis.", "base.latent.",
    *(f"base.transform.{part}." for part in ("enter", "full", "leave", "linear")), *PICTURE,
)  # fmt: skip
"""What comes from other runs: all but what tells the picture layer of the base, and what hears it."""
PLAN: dict[str, Any] = {"rate": 5e-4, "decay": 1e-4, "warmup": 50, "clip": 30.0, "ema": 0.997, "cool": 0.8}


def train_layers(
    out: Path, steps: int, resume: bool, threads: int | None, *, seed: int = 3, batch: int = 4,
    weights: Weights = Weights(), beside: Path | None = None, **family: bool,
) -> Run:  # fmt: skip
    """Train a family into `out`, from the recipes `features` and `every_rate` in `beside`, or beside it.

    Raises MidstreamError naming the recipe that is missing.
    """
    torch.manual_seed(seed)
    runs = beside or out.parent
    features, picture = (checkpoint(runs, recipe) for recipe in ("features", "every_rate"))
    stand = base_layer.stand(runs / "cache")
    model = Scalable(Family(stand.bundle.manifest.cut.shapes[0], **family))
    warm(model.base, features)
    warm(model.picture, picture)
    model.preview.mean.copy_(model.base.analysis.mean)
    model.preview.size.copy_(model.base.analysis.size)
    pool = crops(data_root(), runs / "cache")
    task = LayersTask(pool, stand.pool, stand.bundle.manifest.input, model, stand.distance, batch, seed, weights)
    return fit(task, Plan(steps, threads=threads, gentle=KNOWING, **PLAN), out, resume)
