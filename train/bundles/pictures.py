"""A trained codec of pictures becomes layers of a bundle, whose detector and features stay coded as they were.

Networks, latent.npz and the manifest's [[layers]] are added, nothing else is touched. `Alone` is the simplest such
codec; `frequency` and `denoise` are the others. What they share is here: pictures and latents as edge and cloud see
them, files of a picture layer, tables counted on photos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from bench.written import check_folder
from common import bundle as bundles
from common.bundle import Bundle, Side
from common.codec.latent import Cells, LatentCoder
from common.layers import FULL
from common.scalable import PictureLayers, picture_networks
from common.scalable.latent_features import ARRAYS
from train import latents
from train.bundles.build import packed
from train.bundles.halves import Files, copied
from train.bundles.onnx_files import Network, written
from train.bundles.scalable_nets import Hyper
from train.latents import Example, Model, Rates
from train.nets.latent import Latent
from train.nets.picture import STRIDE
from train.nets.scalable import PictureLayer

PICTURE = Rates(512, range(352, 513), 432)
"""Steps of 5.7 to 1, a little more than training's."""
FOLD = 4
"""Cells of y in one of z, each way."""
EXAMPLE = 12
"""Cells each way, at most, of the picture that files are compared with their networks on."""
FIXED = 256.0
"""Of a decoded latent in integers."""

Pixels = NDArray[np.uint8]
Tables = dict[str, NDArray[Any]]
Sided = dict[str, tuple[Side, Network]]
"""The networks of a codec, and who needs each."""


class Codec(Protocol):
    """Weights as they ship, and the photos that tables are counted on."""

    def networks(self) -> Sided:
        """Every network by its file's name."""
        ...

    def arrays(self) -> Tables:
        """Those of all layers: latent.npz."""
        ...

    def layers(self) -> list[dict[str, Any]]:
        """The manifest's [[layers]]."""
        ...


@dataclass(frozen=True)
class Alone:
    """One picture layer that nothing lies below: what layered codecs are measured against."""

    model: PictureLayer
    pictures: Sequence[Pixels]

    def networks(self) -> Sided:
        """Of the layer."""
        return of_layer(FULL, Ends.of(self.model), self.model.latent, small(planes(self.pictures[0])))

    def arrays(self) -> Tables:
        """Of the layer."""
        count = len(self.pictures)
        seen = [analysed(self.model, planes(self.pictures[number]), level) for number, level in counted_at(count)]
        return tables(self.model.latent, seen, FULL)

    def layers(self) -> list[dict[str, Any]]:
        """The layer."""
        return [layer(FULL, 1, FULL, PICTURE)]


# ---- a codec as a bundle


def build(codec: Codec, source: Bundle, name: str, out: Path, console: Console) -> Bundle:
    """Write the bundle `source` with the layers of a codec below `out`. Raises BundleError if they do not fit."""
    check_folder(out)
    manifest, files = assembled(codec, source, name)
    bundle = bundles.write(out, manifest, files)
    loaded = bundles.load(bundle.path, "both", bundle.digest)
    PictureLayers.open(loaded)
    added = sum(len(data) for name, (_, data) in files.items() if name not in source.manifest.files)
    console.print(f"{loaded!r}\n{loaded.path}\nthe layers' files have {added / 1e6:.1f} MB")
    return loaded


def assembled(codec: Codec, source: Bundle, name: str) -> tuple[dict[str, Any], Files]:
    """Manifest and files of `source` with the layers of a codec."""
    manifest, files = copied(source)
    files |= {file: (side, written(network)) for file, (side, network) in codec.networks().items()}
    files[ARRAYS] = ("both", packed(codec.arrays()))
    return {**manifest, "name": name, "layers": codec.layers()}, files


def layer(name: str, kind: int, prefix: str, rates: Rates, tile: int = 0) -> dict[str, Any]:
    """One of the manifest's [[layers]]; `tile` cells each way are coded by themselves, 0: all together."""
    about = {"stride": STRIDE, "pad": STRIDE * FOLD, **({"tile": tile} if tile else {})}
    return {"name": name, "kind": kind, "prefix": prefix, **rates.params(), **about}


class AtStep(nn.Module):
    """An analysis or a synthesis that is told of the step [N]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Return what the network makes of it."""
        found: Tensor = self.network(x, step=step)
        return found


class Ends(NamedTuple):
    """Both networks of a picture layer between what it codes and its latent, and what that is called."""

    analysis: nn.Module
    synthesis: nn.Module
    coded: str = "x"
    step: Tensor | None = None
    """An example [1], if they are told of it."""

    @classmethod
    def of(cls, model: PictureLayer) -> "Ends":
        """Those of a picture layer."""
        if not model.told:
            return cls(model.analysis, model.synthesis)
        return cls(AtStep(model.analysis), AtStep(model.synthesis), step=torch.tensor([1.7]))  # between two knots


def of_layer(prefix: str, ends: Ends, latent: Latent, x: Tensor, shown: Side = "cloud") -> Sided:
    """The files of a picture layer without context; `x` is an example, `shown` who needs the synthesis."""
    beside = {} if ends.step is None else {"step": ends.step}
    y = ends.analysis(x, *beside.values())
    seen, kept = {ends.coded: x, **beside}, {"y": y.round(), **beside}
    return {
        f"{prefix}_analysis.onnx": ("edge", Network(ends.analysis, seen, ("y",), sized=True)),
        f"{prefix}_hyper.onnx": ("edge", Network(Hyper(latent), {"y": y}, ("z",), sized=True)),
        f"{prefix}_synthesis.onnx": (shown, Network(ends.synthesis, kept, (ends.coded,), sized=True)),
    }


# ---- pictures and latents as edge and cloud see them


def planes(picture: Pixels) -> Tensor:
    """A picture [H,W,3] as x [1,3,h,w] in 0..1, continued to whole cells as an edge does it."""
    height, width = (slice(0, -(-side // STRIDE) * STRIDE) for side in picture.shape[:2])
    return torch.from_numpy(np.ascontiguousarray(picture_networks.planes(picture, (height, width), STRIDE)))[None]


def small(x: Tensor) -> Tensor:
    """The upper left of [1,3,h,w], of whole cells of z."""
    rows, columns = (min(side // STRIDE, EXAMPLE) // FOLD * FOLD for side in x.shape[2:])
    return x[..., : rows * STRIDE, : columns * STRIDE]


def continued(y: Tensor) -> Tensor:
    """A latent [C,h,w], continued by its edge to whole cells of z."""
    rows, columns = y.shape[1:]
    return F.pad(y[None], (0, -columns % FOLD, 0, -rows % FOLD), mode="replicate")[0]


def example(y: Tensor, level: int | None = None) -> Example:
    """Of a picture's latent [C,h,w], all cells of which are coded."""
    return Example(continued(y), Cells(0, 0, y.shape[1], y.shape[2]), None, level)


def analysed(model: PictureLayer, x: Tensor, level: int) -> Example:
    """The same of a picture x [1,3,h,w], to be counted at this level."""
    y: Tensor = model.analysis(x, step=torch.tensor([PICTURE.step(PICTURE.middle(level))]))
    return example(y[0], level)


# ---- tables


def tables(latent: Latent, examples: Sequence[Example], prefix: str, context_units: float = 1.0) -> Tables:
    """The arrays of a latent; its examples' contexts are in 1/context_units."""
    return latents.tables(Model.of(latent, PICTURE, examples, context_units), examples, prefix)


def coder(arrays: Tables, prefix: str) -> LatentCoder:
    """What codes a latent of these arrays."""
    return LatentCoder.from_params(PICTURE.params(), arrays, prefix)


def decoded(by: LatentCoder, latent: Latent, given: Example, level: int) -> NDArray[np.int32]:
    """What comes back of a latent in the middle of a level: [C,h,w] in 256ths of its cells."""
    z = latents.hyper(latent, given.y)
    fixed = by.encode(given.y.numpy(), z.numpy(), PICTURE.middle(level), given.cells)[1]
    return fixed[:, : given.cells.bottom, : given.cells.right]


def counted_at(count: int) -> Iterator[tuple[int, int]]:
    """Of so many photos each one's number with the levels that it is counted at."""
    levels = len(PICTURE.levels)
    return ((number, level) for number in range(count) for level in latents.levels_of(number, levels))
