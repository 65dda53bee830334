"""Curves that others published and that cannot be measured here: their numbers as they stand in their files."""

from collections.abc import Sequence
from typing import NamedTuple


class Published(NamedTuple):
    """Means over the 24 Kodak images; `points` are (bpp, PSNR in dB, MS-SSIM)."""

    name: str
    source: str
    points: tuple[tuple[float, float, float], ...]


MEAN_SCALE = Published(
    "mbt2018-mean",
    "CompressAI, results/image/8bit-decoded/kodak/compressai-mbt2018-mean_mse_ans_cuda.json at "
    "github.com/InterDigitalInc/CompressAI (commit 128f00397509): eight separately trained models, mean squared "
    "error, bits of the coded strings alone, 8-bit RGB",
    (
        (0.12392171223958336, 27.69583757718404, 0.9177580053607622),
        (0.19798109266493058, 29.353530724843342, 0.9429814790685972),
        (0.3072441948784722, 31.121095101038616, 0.9614063774545988),
        (0.46061197916666674, 32.93884746233622, 0.975120889643828),
        (0.6616651746961806, 34.949936866760254, 0.9834911773602167),
        (0.9144049750434027, 36.88314358393351, 0.989159015317758),
        (1.2342088487413194, 38.79441340764364, 0.9929624150196711),
        (1.619089762369792, 40.56895097096761, 0.9952663431564966),
    ),
)
"""The mean-scale hyperprior of Minnen, Balle and Toderici (2018), as most learned codecs are held against."""


def curves(images: Sequence[str]) -> list[Published]:
    """What is published for these images, by their files' names without suffix: something for Kodak's, else nothing."""
    return [MEAN_SCALE] if sorted(images) == [f"kodim{number:02}" for number in range(1, 25)] else []
