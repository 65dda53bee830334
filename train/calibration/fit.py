"""From pictures to the transform codec of a bundle: the [codec] table and the arrays of codec.npz."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from bench.networks import Split
from common.codec.transform import read_basis
from common.codec.window import Window
from common.geometry import to_network
from train.bundles.images import Sample
from train.bundles.torch_back import torch_back
from train.calibration import basis, metric, tables
from train.calibration.spectra import Spectra, view

BLOCK = 4
TURNED = 512
"""Planes that are turned together. More save a per cent or two of the bytes, and cost the edge time."""
PLANES = 2048
"""Kept of a tensor at most: enough for all of [128, H, W]; in wider ones the rest is never worth a bit."""
DRAWS = 2
"""Random mixtures of the outputs for each picture."""
MEMORY = 3 << 30
"""Bytes that spectra and views may take, half each; with larger cuts fewer pictures are used."""
LARGEST = float(np.finfo(np.float16).max)
MARGIN = 97
"""Planes are coded down to a deviation of 2^(-97/64) steps; below, nothing would survive the dead zone."""
QUALITIES = (96, 160, 224, 288, 352, 416, 512)
"""At which the tables are counted; their classes make them fit the others."""
LOWEST, HIGHEST, DEFAULT = 0, 1023, 288
COUNTED = 96
"""Pictures that the tables are counted on."""

Fitted = tuple[dict[str, Any], dict[str, NDArray[Any]]]
Slopes = list[list[NDArray[np.float32]]]
"""Of one picture, for each tensor, the gradients of all draws."""


@dataclass(frozen=True)
class Cut:
    """One picture at the cut: its tensors, and where the picture lies."""

    features: list[NDArray[np.float32]]
    window: Window
    sample: Sample


def transform(split: Split, samples: Sequence[Sample], console: Console, *, labelled: bool = False) -> Fitted:
    """Fit to these pictures. With `labelled`, the metric is the loss on their marked boxes, for comparison."""
    cuts = _cuts(split, samples, console)
    slopes = _slopes(split, cuts, console, labelled)
    blank = split.front.run(np.full_like(samples[0].image, split.bundle.manifest.input.pad))
    shapes = split.bundle.manifest.cut.shapes
    counted = countable(shapes)
    tensors = [_tensor(t, shape, cuts, slopes, counted) for t, shape in enumerate(shapes)]
    unit = basis.unit_of([tensor.basis for tensor in tensors])
    arrays: dict[str, NDArray[Any]] = {}
    views = []
    for t, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        arrays |= {f"{t}.{name}": array for name, array in tensor.basis.arrays(unit).items()}
        arrays |= {f"{t}.mean": tensor.mean, f"{t}.blank": np.clip(blank[t], -LARGEST, LARGEST).astype(np.float16)}
        rounded = read_basis(t, BLOCK, shape, arrays)
        views += [view(rounded, tensor.counted, quality, MARGIN) for quality in QUALITIES]
    with console.status("counting coefficients"):
        arrays |= tables.learn(views)
    params = {
        "name": "transform",
        "shapes": [list(shape) for shape in shapes],
        "block": BLOCK,
        "margin": MARGIN,
        "qualities": [LOWEST, HIGHEST],
        "default_quality": DEFAULT,
    }
    return params, arrays


@dataclass(frozen=True)
class Tensor:
    """One tensor of the cut in all pictures."""

    mean: NDArray[np.float32]
    basis: basis.Basis
    counted: list[NDArray[np.float32]]
    """Spectra of the pictures that the tables are counted on."""


def countable(shapes: Sequence[tuple[int, ...]]) -> int:
    """How many pictures of a cut of these shapes the tables can be counted on."""
    values = 0
    for channels, height, width in shapes:
        planes = min(PLANES, channels * BLOCK**2)
        values += planes * -(-height // BLOCK) * -(-width // BLOCK)
    # One view for each quality; the largest twice more while it is made and counted.
    return max(1, min(COUNTED, MEMORY // 2 // (4 * values * (len(QUALITIES) + 2))))


def _tensor(t: int, shape: tuple[int, ...], cuts: Sequence[Cut], slopes: Sequence[Slopes], counted: int) -> Tensor:
    spectra = Spectra(shape, BLOCK, [cut.window for cut in cuts])
    mean = spectra.mean([cut.features[t] for cut in cuts])
    content = [spectra.of(i, cut.features[t], mean) for i, cut in enumerate(cuts)]
    sloping = [spectra.of(i, slope) for i, each in enumerate(slopes) for slope in each[t]]
    learned = basis.learn(content, sloping, TURNED, PLANES)
    return Tensor(mean, learned, content[:: -(-len(content) // counted)])


def _cuts(split: Split, samples: Sequence[Sample], console: Console) -> list[Cut]:
    """The pictures at the cut; of a large cut, as many as fit into memory, evenly chosen."""
    size = sum(int(np.prod(shape)) for shape in split.bundle.manifest.cut.shapes) * 4 * (2 + 2 * DRAWS)
    stride = -(-len(samples) * size // (MEMORY // 2))
    chosen = samples[::stride]
    if stride > 1:
        console.print(f"the cut is large: calibrating on {len(chosen)} of {len(samples)} pictures")
    return [
        Cut(split.front.run(sample.image), split.bundle.manifest.input.window(sample.width, sample.height), sample)
        for sample in track(chosen, "features", console=console, transient=True)
    ]


def _slopes(split: Split, cuts: Sequence[Cut], console: Console, labelled: bool) -> list[Slopes]:
    half = torch_back(split.bundle)
    random = torch.Generator().manual_seed(0)
    found = []
    for cut in track(cuts, "gradients", console=console, transient=True):
        objectives = list(_objectives(split, cut.sample, random, labelled))
        draws = list(metric.gradients(half, cut.features, objectives))
        found.append([[draw[t] for draw in draws] for t in range(len(cut.features))])
    return found


def _objectives(split: Split, sample: Sample, random: torch.Generator, labelled: bool) -> Iterator[metric.Objective]:
    if labelled and sample.marks is not None:
        box = split.bundle.manifest.input.box(sample.width, sample.height)
        yield metric.loss(to_network(sample.marks.boxes, box), sample.marks.labels)
        return
    for _ in range(DRAWS):
        yield metric.mixture(random)
