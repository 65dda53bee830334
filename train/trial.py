"""A trained picture codec through its real code: bytes, quality, and what is lost between training and shipping.

python -m train.trial runs/picture/checkpoint.pt --images ../shared/data/kodak --qualities 512
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.coco import photos
from bench.settings import data_root
from common.codec.latent import Cells, LatentCoder
from train import latents
from train.crops import SIZE, VARIED
from train.latents import Example, Model, Rates
from train.nets.passes import passes_of
from train.nets.picture import depths_of, told_of
from train.nets.scalable import PictureLayer

WHOLE = 64
"""Pixels of a cell of z, each way."""
UNIT = 512
PREFIX = "full"
LISTING = "instances_train.json"


@dataclass(frozen=True)
class Outcome:
    """One picture at one quality."""

    real: float
    """Bits a pixel, of real bytes."""
    estimated: float
    """The same as training counts them."""
    integers: float
    """Of y alone, what rounding the hyper-decoder to integers changes: 0.01 is a hundredth more."""
    psnr: float
    side: float
    """Bits a pixel of z, estimated."""


class Trial:
    """A codec with its coder, fitted to training photos."""

    def __init__(self, codec: PictureLayer, rates: Rates, count: int) -> None:
        self.codec, self.rates = codec, rates
        examples = [
            self.example(whole(picture), rates.middle(level), level)
            for number, picture in enumerate(training(count))
            for level in latents.levels_of(number, len(rates.levels))
        ]
        self.model = Model.of(codec.latent, rates, examples)
        counts = latents.counted(self.model, examples)
        self.arrays = latents.arrays(self.model, counts, PREFIX)
        self.coder = LatentCoder.from_params(rates.params(), self.arrays, PREFIX)

    @torch.no_grad()
    def example(self, x: Tensor, quality: int, level: int | None = None) -> Example:
        """The latent of a picture [3,H,W] in 0..1 at a quality, every cell of it coded."""
        y = self.codec.analysis(x[None], step=torch.tensor([self.rates.step(quality)]))[0].float()
        return Example(y, Cells(0, 0, y.shape[1], y.shape[2]), None, level)

    @torch.no_grad()
    def __call__(self, x: Tensor, quality: int) -> Outcome:
        """Code a picture [3,H,W] in 0..1, decode it, compare."""
        example, step, pixels = self.example(x, quality), self.rates.step(quality), x[0].numel()
        z = latents.hyper(self.codec.latent, example.y)
        payload, _ = self.coder.encode(example.y.numpy(), z.numpy(), quality, example.cells)
        fixed = self.coder.decode(payload, *example.y.shape[1:], example.cells).fixed
        found = self.codec.synthesis(torch.from_numpy(fixed).float()[None] / 256, step=torch.tensor([step]))[0]
        error = (found.mul(255).round().clamp(0, 255) - (x * 255).round()).square().mean()
        bits, side = latents.estimated(self.codec.latent, example, step)
        return Outcome(
            8 * len(payload) / pixels,
            (bits + side) / pixels,
            latents.integer_bits(self.model, example, quality) / bits - 1,
            float(10 * torch.log10(255**2 / error)),
            side / pixels,
        )


def whole(picture: NDArray[np.uint8]) -> Tensor:
    """[H,W,3] cut to whole cells of z: [3,H',W'] in 0..1."""
    height, width = (size // WHOLE * WHOLE for size in picture.shape[:2])
    return torch.from_numpy(np.array(picture[:height, :width])).permute(2, 0, 1).float() / 255


def training(count: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Training photos [H,W,3] that crops come from, each as likely as its crops are many; all if there are no more."""
    listing = data_root() / LISTING
    sources = {listing.parent / i["file_name"]: i["source"] for i in json.loads(listing.read_text())["images"]}
    found = [p for p in photos(listing=LISTING) if min(p.width, p.height) >= SIZE]
    weights = np.array([float(VARIED.shares.get(sources[p.path], 0)) for p in found])
    count = min(count, np.count_nonzero(weights))
    for i in np.random.default_rng(seed).choice(len(found), count, replace=False, p=weights / weights.sum()):
        yield found[i].picture()


def loaded(checkpoint: Path) -> PictureLayer:
    """The averaged weights of a run."""
    return restored(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])


def restored(weights: Mapping[str, Tensor]) -> PictureLayer:
    """A picture layer of these weights, as deep and in as many passes as they are."""
    codec = PictureLayer(
        len(weights["latent.spread"]),
        depths=depths_of(weights),
        passes=passes_of(weights, "latent."),
        told=told_of(weights),
    )
    codec.load_state_dict(weights)
    return codec.eval().requires_grad_(False)


def report(trial: Trial, images: Sequence[Path], qualities: Sequence[int]) -> None:
    """Print the means over the images."""
    for quality in qualities:
        rows = [trial(whole(np.asarray(Image.open(path).convert("RGB"))), quality) for path in images]
        real, estimated, integers, psnr, side = (
            float(np.mean([getattr(row, name) for row in rows])) for name in Outcome.__dataclass_fields__
        )
        print(
            f"quality {quality}: {real:.4f} bits a pixel, {estimated:.4f} estimated ({real / estimated - 1:+.2%}), "
            f"z {side:.4f}, integers {integers:+.3%}, {psnr:.3f} dB"
        )


def main() -> None:
    """Parse the command and run it."""
    parser = argparse.ArgumentParser(prog="python -m train.trial")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=64, help="to count tables on")
    parser.add_argument("--qualities", type=int, nargs="+", default=[UNIT])
    parser.add_argument("--offsets", action="store_true", help="learned")
    given = parser.parse_args()
    codec = loaded(given.checkpoint)
    codec.latent.offset_on = codec.latent.hyper_step_on = given.offsets
    span = range(min(given.qualities), max(given.qualities) + 1)
    trial = Trial(codec, Rates(UNIT, span, given.qualities[-1]), given.photos)
    report(trial, sorted(p for p in given.images.iterdir() if p.suffix in (".png", ".webp")), given.qualities)


if __name__ == "__main__":
    main()
