"""A trained family becomes a bundle: networks as files, latents as integers and tables, operating points measured.

The detector is that of a bundle which is there already: what was trained is only how its features are coded, and what
can be had beyond them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from bench.networks import Split
from bench.written import check_folder
from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.codec.latent import Cells
from common.errors import MidstreamError
from common.geometry import Letterbox
from common.layers import FULL, MASK
from common.scalable.latent_features import ARRAYS
from common.scalable.lattice import lattice, resample, resample_integers
from train import latents
from train.bundles.build import measure, packed, proposed
from train.bundles.halves import Files, described
from train.bundles.images import load
from train.bundles.measure import Subject, points
from train.bundles.onnx_files import plain, written
from train.bundles.pictures import FIXED, PICTURE, Tables, continued, layer, planes, small
from train.bundles.progress import track
from train.bundles.scalable_nets import SIDES, networks
from train.cuts import cells
from train.integers import Chain
from train.latents import Example, Model, Rates
from train.nets.features import PATCH
from train.nets.picture import STRIDE
from train.nets.scalable import Decoded, Family, Scalable
from train.trial import training

BASE = Rates(352, range(96, 353), 160)
MIDDLE = Rates(352, range(64, 353), 112)
BELOW = (160, 224, 288, 352)
"""Qualities of the layers below, one after the other, that higher layers are counted above."""
REACH = 32767
"""Of a decoded latent in integers, where probabilities are told of it."""
SHRINK = 16.0
"""What `train.nets.scalable.Below` divides by."""


@dataclass(frozen=True)
class Frame:
    """A training photo as the layers see it."""

    picture: NDArray[np.uint8]
    features: Tensor
    """[1,C,H,W]."""
    mask: Tensor
    """[1,1,H/4,W/4]: 1 where the content is."""
    box: Letterbox

    @property
    def cells(self) -> Cells:
        """Where the mask is 1."""
        rows, columns = (np.flatnonzero(self.mask[0, 0].amax(axis).numpy()) for axis in (1, 0))
        return Cells(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


@dataclass(frozen=True)
class Shipped:
    """A family as it ships, and the photos that its tables are counted on."""

    model: Scalable
    """Weights as the files hold them."""
    frames: Sequence[Frame]
    size: int
    """Of the network's input."""

    # ---- files

    def files(self) -> Files:
        """Every network's file."""
        frame = self.frames[0]
        features, mask = (torch.cat((part, part)) for part in (frame.features, frame.mask))
        x, context = self._picture(frame, self._below(frame, BELOW[-1])[1])
        x = small(x)
        context = context[..., : x.shape[2] // STRIDE, : x.shape[3] // STRIDE]
        made = networks(self.model, features, mask, x, context)
        return {name: (SIDES[name], written(network)) for name, network in made.items()}

    # ---- tables

    def arrays(self) -> Tables:
        """Those of all layers: latent.npz."""
        base = self._base()
        found = latents.tables(Model.of(self.model.base.latent, BASE, base), base, "base")
        if self.model.middle is not None:
            examples = self._middle()
            found |= latents.tables(Model.of(self.model.middle.latent, MIDDLE, examples), examples, "mask")
        return found | self._full()

    @torch.no_grad()
    def _base(self) -> list[Example]:
        base = self.model.base
        return [Example((base.analysis(f.features) * f.mask)[0], f.cells) for f in self.frames]

    @torch.no_grad()
    def _middle(self) -> list[Example]:
        middle = self.model.middle
        assert middle is not None
        found = []
        for frame, quality in _above(self.frames):
            base = self._decoded_base(frame, quality)
            found.append(Example((middle.analysis(frame.features, base.features) * frame.mask)[0], frame.cells))
        return found

    @torch.no_grad()
    def _full(self) -> Tables:
        """The picture layer's; where its probabilities know the base layer, with the network that tells them."""
        net = self._context_net()
        examples = [self._full_example(frame, quality, net) for frame, quality in _above(self.frames)]
        model = Model.of(self.model.picture.latent, PICTURE, examples, net.units if net else 1.0)
        return latents.tables(model, examples, FULL) | (net.arrays(f"{FULL}.context") if net else {})

    def _full_example(self, frame: Frame, quality: int, net: Chain | None) -> Example:
        base, under = self._below(frame, quality)
        y = self.model.picture.analysis(*self._picture(frame, under))[0]
        whole, cells = continued(y), Cells(0, 0, y.shape[1], y.shape[2])
        return Example(whole, cells, self._known(base, frame, net, (whole.shape[1], whole.shape[2])) if net else None)

    def _context_net(self) -> Chain | None:
        if self.model.below is None:
            return None
        base = [self._decoded_base(frame, quality).y / SHRINK for frame, quality in _above(self.frames)]
        return Chain.of(self.model.below.layers, base, FIXED * SHRINK, REACH)

    def _known(self, base: Decoded, frame: Frame, net: Chain, grid: tuple[int, int]) -> Tensor:
        below = net(torch.round(base.y.double() * FIXED))[0].numpy().astype(np.int32)
        where = lattice(frame.box, self.size, (below.shape[1], below.shape[2]), grid, STRIDE)
        return torch.from_numpy(resample_integers(below, where))

    # ---- layers below

    def _decoded_base(self, frame: Frame, quality: int) -> Decoded:
        return self.model.base(frame.features, torch.tensor([BASE.step(quality)]), frame.mask)

    def _below(self, frame: Frame, quality: int) -> tuple[Decoded, Decoded]:
        """The base layer, and the one that the picture layer is told of: the middle one, if there is one."""
        with torch.no_grad():
            base = self._decoded_base(frame, quality)
            if self.model.middle is None:
                return base, base
            step = torch.tensor([MIDDLE.step(quality)])
            return base, self.model.middle(frame.features, step, frame.mask, base.features)

    def _picture(self, frame: Frame, under: Decoded) -> tuple[Tensor, Tensor]:
        """X [1,3,h,w], continued to whole cells, and the context [1,K,h/16,w/16]."""
        x, told = planes(frame.picture), under.context[0].numpy()
        grid = x.shape[2] // STRIDE, x.shape[3] // STRIDE
        context = resample(told, lattice(frame.box, self.size, (told.shape[1], told.shape[2]), grid, STRIDE))
        return x, torch.from_numpy(context)[None]


def shipped(model: Scalable, source: Bundle, photos: int, eight_bits: bool, console: Console) -> Shipped:
    """A trained family with its weights as they ship, beside so many training photos."""
    split = Split(source)
    pictures = track(training(photos), "photos", console)
    ready = plain(model, eight_bits)
    assert isinstance(ready, Scalable)
    return Shipped(ready, [framed(split, picture) for picture in pictures], source.manifest.input.width)


def build(
    model: Scalable, source: Bundle, name: str, measured: Path, out: Path, *,
    photos: int = 96, limit: int = 64, eight_bits: bool = True, console: Console | None = None,
) -> Bundle:  # fmt: skip
    """Write the bundle of a trained family on the detector of `source` below `out`; `measured` are pictures."""
    console = console or Console(highlight=False, soft_wrap=True)
    check_folder(out)
    manifest, files = assembled(shipped(model, source, photos, eight_bits, console), source, name)
    with tempfile.TemporaryDirectory() as scratch:
        draft = bundles.write(Path(scratch), manifest, files)
        subject = Subject(Split(draft), load(measured, draft.manifest, limit, console))
        found = measure(points(subject, feature_codec.of(draft)))
    codec = codec_table(model, replace(BASE, default=proposed(found)))
    bundle = bundles.write(out, {**manifest, "codec": codec, "operating_points": found}, files)
    console.print(f"{bundle!r}\n{bundle.path}")
    return bundles.load(bundle.path, "both", bundle.digest)


def assembled(family: Shipped, source: Bundle, name: str) -> tuple[dict[str, Any], Files]:
    """Manifest and files of a family on the detector of `source`, nothing measured yet."""
    manifest, files = described(source)
    files = {n: f for n, f in files.items() if n != feature_codec.ARRAYS} | family.files()
    files[ARRAYS] = ("both", packed(family.arrays()))
    manifest |= {"name": name, "layers": layers(family.model), "codec": codec_table(family.model, BASE)}
    return manifest, files


def loaded(checkpoint: Path) -> Scalable:
    """The averaged weights of a run of `scalable2`, `scalable3` or `disentangled`. Raises MidstreamError."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"]
    if "base.blank" not in weights:
        raise MidstreamError(f"{checkpoint} is of no family of layers: scalable2, scalable3 and disentangled are")
    parts = {name.partition(".")[0] for name in weights}
    family = Family(tuple(weights["base.blank"].shape), middle="middle" in parts, conditional="below" in parts)
    model = Scalable(family)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def codec_table(model: Scalable, rates: Rates) -> dict[str, Any]:
    """The manifest's [codec]."""
    grid = [side // PATCH for side in model.family.shape[1:]]
    return {"name": "latent", "prefix": "base", "grid": grid, "patch": PATCH, **rates.params()}


def layers(model: Scalable) -> list[dict[str, Any]]:
    """The manifest's [[layers]]."""
    middle = [{"name": MASK, "kind": 1, "prefix": MASK, **MIDDLE.params()}] if model.middle is not None else []
    hear = model.picture.analysis.hear
    assert hear is not None
    return [*middle, {**layer(FULL, len(middle) + 1, FULL, PICTURE), "context": hear.in_channels}]


def _above(frames: Sequence[Frame]) -> Iterator[tuple[Frame, int]]:
    """Frames with a quality of the layers below."""
    return ((frame, BELOW[number // latents.SPARSE % len(BELOW)]) for number, frame in enumerate(frames))


def framed(split: Split, picture: NDArray[np.uint8]) -> Frame:
    """A photo [H,W,3] as the layers see it."""
    taken = split.bundle.manifest.input
    height, width = picture.shape[:2]
    (features,) = split.cut(picture)
    mask = cells(taken.window(width, height), features.shape[1])
    return Frame(
        picture, torch.from_numpy(features)[None], torch.from_numpy(mask)[None, None], taken.box(width, height)
    )
