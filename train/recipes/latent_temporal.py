"""Tables of latents that are coded after others, counted on videos: common/codec/latent_temporal.npz. Minutes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.networks import Split, shipped
from bench.settings import data_root
from bench.video.clips import clip, listed
from common import bundle as bundles
from common import feature_codec
from common.errors import MidstreamError
from common.scalable import LatentFeatures
from train.calibration.latent_temporal import Clip, learn

STEPS = 1
BUNDLE = "scalable2"
FRAMES = 48
"""Of each video."""
POINTS = ((112, 1), (112, 3), (160, 1), (160, 2), (208, 1), (208, 4), (256, 2), (320, 1))
"""Quality, and frames between a frame and its reference."""


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> None:
    """Count the videos below video/train of the data and write `out`/latent_temporal.npz; nothing to resume."""
    bundle = bundles.load(shipped(BUNDLE), "both")
    codec = feature_codec.of(bundle)
    if not isinstance(codec, LatentFeatures):
        raise MidstreamError(f"{bundle!r} has the codec {codec.name!r}: expected one of latents")
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "latent_temporal.npz", **learn(list(clips(codec, Split(bundle, threads or 1)))))


def clips(codec: LatentFeatures, split: Split) -> Iterator[Clip]:
    """Latents of the videos, at each point."""
    for path in listed(data_root() / "video" / "train"):
        scene = clip(path, split, FRAMES).scene
        window = scene.window(0)
        latents = [codec.analysed(features, window) for features in scene.features]
        y, z = ([latent[i] for latent in latents] for i in (0, 1))
        for quality, lag in POINTS:
            yield Clip(codec.coder, codec.cells(window), y, z, quality, lag)
