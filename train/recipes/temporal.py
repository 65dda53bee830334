"""Tables of frames that are coded after others, counted on videos: common/codec/temporal.npz. Minutes, no gradients."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.networks import Split, shipped
from bench.settings import data_root
from bench.video.clips import clip, listed
from common import bundle as bundles
from common import feature_codec
from common.codec import Features, Transform, Window
from common.errors import MidstreamError
from train.calibration.temporal import Clip, learn

STEPS = 1
FRAMES = 48
"""Of each video."""
POINTS = ((96, 2, 20), (160, 1, FRAMES), (224, 3, FRAMES), (224, 1, FRAMES), (288, 2, FRAMES), (384, 1, 20))
"""Quality, frames between a frame and its reference, and how many of a video are coded so."""


def main(out: Path, steps: int = STEPS, resume: bool = False, threads: int | None = None) -> None:
    """Count the videos below video/train of the data and write `out`/temporal.npz. There is nothing to resume."""
    bundle = bundles.load(shipped(), "both")
    codec = feature_codec.of(bundle)
    if not isinstance(codec, Transform):
        raise MidstreamError(f"{bundle!r} has the codec {codec.name!r}: changes are those of transform's coefficients")
    split, clips = Split(bundle, threads or 1), []
    for path in listed(data_root() / "video" / "train"):
        scene = clip(path, split, FRAMES).scene
        for quality, lag, count in POINTS:
            scale, values = coefficients(codec, scene.features[:count], quality, scene.window(0))
            clips.append(Clip(quality, scale, values, lag))
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "temporal.npz", **learn(clips))


def coefficients(
    codec: Transform, frames: Sequence[Sequence[Features]], quality: int, window: Window
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Scales [plane] and coefficients [frame, plane, block] in steps, of the first tensor of the cut."""
    part = codec.plan(quality, window).parts[0]
    values = np.stack([part.of(codec.analysed(features, quality, window)[1]) for features in frames])
    return part.basis.basis.scales[: values.shape[1]], values
