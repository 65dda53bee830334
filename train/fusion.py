"""Training of the fusion: videos coded at several quantisers, what their base layers show, and what they should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bench.networks import Split, shipped
from bench.settings import hush_encoders
from common import bundle as bundles
from common import feature_codec
from common.codec import Container, TemporalCodec, pack
from common.errors import MidstreamError
from common.video import av1
from common.video.features import Bases
from common.video.fusion import inputs
from common.video.planes import Cells, Picture, Planes, cells_of, of_picture
from train.integers import Chain
from train.nets.fusion import LIMIT, OUTPUT_UNITS, UNITS, FusionNet

QUANTISERS = (28, 34, 40, 46, 52)
PERIOD = 64
CROP = 64
"""Cells of a crop, each way: 256 pixels."""
BATCH = 8
BLIND = 0.25
"""Share of the crops whose base layer says nothing, as where another bundle coded it."""

Array = NDArray[Any]


class Example(NamedTuple):
    """One frame: what it is, its features, and how it came and what came before, by quantiser. All are cells."""

    wanted: Cells
    features: Cells
    coded: Array
    """int8 [quantisers, 24, rows, columns], as is `before`."""
    before: Array


@dataclass(frozen=True)
class Videos:
    """All frames of all clips, and the bundle of their features."""

    examples: list[Example]
    bundle: bytes


def videos(root: Path, limit: int | None = None) -> Videos:
    """The clips below a folder, the first `limit` frames of each. Raises MidstreamError if there are none."""
    hush_encoders()
    split = Split(bundles.load(shipped(), "both"))
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found: list[Example] = []
    for folder in tqdm(folders, "coding the videos", disable=None):
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.glob("*.jpg"))[:limit]]
        found += examples(split, pictures) if pictures else []
    if not found:
        raise MidstreamError(f"no folders of frames in {root}")
    return Videos(found, split.bundle.prefix)


def examples(split: Split, pictures: Sequence[Picture]) -> Iterator[Example]:
    """The frames of a clip."""
    wanted = [of_picture(picture) for picture in pictures]
    features = told(split, pictures)
    coded = np.stack([np.stack([cells_of(p).astype(np.int8) for p in played(wanted, q)]) for q in QUANTISERS])
    for i, planes in enumerate(wanted):
        first = i % PERIOD == 0
        yield Example(cells_of(planes), features[i], coded[:, i], coded[:, i if first else i - 1])


def told(split: Split, pictures: Sequence[Picture]) -> list[Cells]:
    """What the base layer of each frame, coded after the one before, says of the cells."""
    codec = feature_codec.of(split.bundle)
    assert isinstance(codec, TemporalCodec)
    bases, state, found = Bases(split.bundle, codec), None, []
    for picture in pictures:
        height, width = picture.shape[:2]
        window, quality = split.bundle.manifest.input.window(width, height), codec.default_quality
        coded = codec.encode_after(split.cut(picture), quality, window, state)
        state = coded.state
        container = Container(split.bundle.prefix, codec.id, quality, width, height, coded.layers, coded.alone)
        found.append(bases.cells(pack(container), width, height))
    return found


def played(frames: Sequence[Planes], quantiser: int) -> list[Planes]:
    """The frames through the video codec."""
    height, width = frames[0].y.shape
    encoder, decoder = av1.Encoder(width, height, quantiser, PERIOD), av1.Decoder(width, height)
    units = [unit for frame in frames for unit in encoder.encode(frame)] + encoder.finish()
    return [decoder.decode(unit) for unit in units]


class FusionTask:
    """Squared error beside that of the frame as it came, so that all quantisers count alike."""

    def __init__(self, known: Videos, model: FusionNet, seed: int) -> None:
        self.known, self.model, self.seed = known, model, seed

    def batch(self, step: int, progress: float) -> Any:
        """Inputs [N,65,h,w] and the wanted change [N,24,h,w]."""
        rng = np.random.default_rng((self.seed, step))
        crops = [crop(self.known.examples[rng.integers(len(self.known.examples))], rng) for _ in range(BATCH)]
        return tuple(torch.from_numpy(np.stack(part)).float() for part in zip(*crops, strict=True))

    def loss(self, batch: Any, step: int, progress: float) -> dict[str, Tensor]:
        """What is left of the error: 1 is no gain."""
        cells, wanted = batch
        left = (self.model(cells) - wanted).square().mean((1, 2, 3))
        return {"left": (left / (wanted.square().mean((1, 2, 3)) + 1)).mean()}


def crop(example: Example, rng: np.random.Generator) -> tuple[Cells, Cells]:
    """A part of a frame at one quantiser: inputs and the wanted change."""
    which, (rows, columns) = rng.integers(len(QUANTISERS)), example.wanted.shape[1:]
    top, left = (int(rng.integers(max(size - CROP, 0) + 1)) for size in (rows, columns))
    part = np.s_[:, top : top + CROP, left : left + CROP]
    coded, before = (of[which][part].astype(np.int16) for of in (example.coded, example.before))
    features = None if rng.random() < BLIND else example.features[part]
    return inputs(coded, before, features, QUANTISERS[which]), example.wanted[part] - coded


@torch.no_grad()
def arrays(model: FusionNet, known: Videos, seed: int = 0, count: int = 40) -> dict[str, Array]:
    """The network in integers, as `common.video.fusion.Fusion` takes it. Raises ValueError if it cannot be."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(known.examples), count)
    seen = [torch.from_numpy(crop(known.examples[i], rng)[0])[None].float() / UNITS for i in chosen]
    body = Chain.of(model.body, seen, UNITS, LIMIT)
    head = Chain.head(model.head, body.units, OUTPUT_UNITS)
    return body.arrays("body") | head.arrays("head") | {"bundle": np.frombuffer(known.bundle, np.uint8)}
