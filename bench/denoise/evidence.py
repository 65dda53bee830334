"""The noisy picture above the clean one: how near it is to what the camera gave, and whether its noise is the same."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.denoise.joint import Both, Joint
from bench.denoise.rows import Measured, Pair
from bench.noise import Noise
from bench.pictures import Picture
from bench.rd.metrics import psnr
from bench.rd.rows import LOSSLESS


class Found(NamedTuple):
    """Of one picture."""

    clean_bpp: float
    bpp: float
    """Both layers."""
    psnr: float
    """dB, to the noisy picture."""
    sigma: float
    """Deviation of the noise that was decoded: what differs from the clean original."""
    sigma_error: float
    """How far that is from the noise that was there, percent of it, without sign."""
    correlation: float
    """Of both noises, pixel by pixel: 1 if it is the very noise."""


@dataclass(frozen=True)
class Evidence(Measured):
    """Both layers at one quality of the noisy one, the clean one at its default; means over the pictures."""

    quality: int
    clean_bpp: float
    bpp: float
    psnr: float
    noise: float
    sigma_error: float
    correlation: float


def measure(
    pictures: str, noise: Noise, pairs: Sequence[Pair], joint: Joint, tick: Callable[[], None]
) -> list[Evidence]:
    """The rows of the noisy layer. Picture by picture; `tick` after each."""
    found: dict[int, list[Found]] = defaultdict(list)
    for pair in pairs:
        for quality in joint.ladder():
            found[quality].append(compared(pair, joint.both(pair.noisy, quality)))
        tick()
    return [Evidence(pictures, *noise, quality, *np.mean(all_, 0).tolist()) for quality, all_ in found.items()]


def compared(pair: Pair, both: Both) -> Found:
    """A picture's two layers against what went in."""
    pixels = pair.clean.shape[0] * pair.clean.shape[1]
    true, there = difference(pair.noisy, pair.clean), difference(both.noisy, pair.clean)
    before, after = float(true.std()), float(there.std())
    return Found(
        8 * both.clean_bytes / pixels,
        8 * both.bytes / pixels,
        min(psnr(pair.noisy, both.noisy), LOSSLESS),
        after,
        100 * abs(after - before) / before,
        float(np.corrcoef(true, there)[0, 1]),
    )


def difference(one: Picture, other: Picture) -> np.ndarray:
    """Of levels, flat."""
    return (one.astype(np.float32) - other).ravel()
