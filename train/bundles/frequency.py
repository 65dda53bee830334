"""A trained codec of low and high frequencies as layers of a bundle: `low` coded whole, `full` in tiles above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.codec.latent import Cells
from common.layers import FULL, LOW
from train.bundles import pictures
from train.bundles.onnx_files import Network
from train.bundles.pictures import FIXED, PICTURE, Pixels, Sided, Tables
from train.bundles.scalable_nets import Hyper
from train.integers import Chain
from train.latents import Example
from train.nets.frequency import TILE, Frequency, folded

HIGH = "high"
"""What the arrays and files of `full` are called by."""
MOST = 32767
"""Of a decoded latent in integers, where probabilities are told of it."""
SHRINK = 16.0
"""What `train.nets.frequency.Beside` divides by."""


@dataclass(frozen=True)
class Frequencies:
    """The codec with its weights as they ship, and the photos that tables are counted on."""

    model: Frequency
    pictures: Sequence[Pixels]

    def networks(self) -> Sided:
        """One analysis and one synthesis for both layers, and a hyper-analysis for each."""
        model, x = self.model, pictures.small(pictures.planes(self.pictures[0]))
        low, high = model.analysis(x)
        latents = {"low": low.round(), "high": high.round()}
        return {
            "frequency_analysis.onnx": ("edge", Network(model.analysis, {"x": x}, ("low", "high"), sized=True)),
            "low_hyper.onnx": ("edge", Network(Hyper(model.low), {"y": low}, ("z",), sized=True)),
            "high_hyper.onnx": ("edge", Network(Hyper(model.high), {"y": folded(high)}, ("z",))),
            "frequency_synthesis.onnx": ("cloud", Network(model.synthesis, latents, ("x",), sized=True)),
        }

    def arrays(self) -> Tables:
        """Low's; the network that tells high's probabilities of it; high's, each above low of the same quality."""
        analysed = [self.model.analysis(pictures.planes(each)) for each in self.pictures]
        lows = [pictures.example(low[0]) for low, _ in analysed]
        found = pictures.tables(self.model.low, lows, LOW)
        by, at = pictures.coder(found, LOW), list(pictures.counted_at(len(lows)))
        below = [pictures.decoded(by, self.model.low, lows[number], level) for number, level in at]
        net = Chain.of(self.model.below.layers, [entering(fixed) for fixed in below], FIXED * SHRINK, MOST)
        told = [net(torch.from_numpy(fixed).double()) for fixed in below]
        highs = [tiled(analysed[n][1][0], context, level) for (n, level), context in zip(at, told, strict=True)]
        return found | net.arrays(f"{HIGH}.context") | pictures.tables(self.model.high, highs, HIGH, net.units)

    def layers(self) -> list[dict[str, Any]]:
        """Both."""
        return [pictures.layer(LOW, 1, LOW, PICTURE), pictures.layer(FULL, 2, HIGH, PICTURE, TILE)]


def entering(fixed: NDArray[np.int32]) -> Tensor:
    """A decoded latent in 256ths as the layers of `Beside` get it."""
    return torch.from_numpy(fixed.clip(-MOST, MOST)).float() / FIXED / SHRINK


def tiled(high: Tensor, context: Tensor, level: int) -> Example:
    """The latent [C,h,w] of high frequencies as tiles that know nothing of each other, beside what low says of each.

    Cells beyond the picture are counted, too: they repeat those at its edge.
    """
    y, beside = (folded(pictures.continued(planes)[None]) for planes in (high, context))
    return Example(y, Cells(0, 0, TILE, TILE), beside, level)
