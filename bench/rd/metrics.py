"""How far a decoded picture is from the original: PSNR and MS-SSIM, both on 8-bit RGB, per picture.

MS-SSIM is that of Wang, Simoncelli and Bovik ("Multiscale structural similarity for image quality assessment",
2003) as learned codecs report it: a Gaussian window of 11 x 11 without padding, five scales by 2 x 2 means, each
colour channel by itself, then their mean.
"""

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Planes = NDArray[np.float32]

PEAK = 255.0
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first."""
TAPS, SIGMA = 11, 1.5
LEAST_SIDE = TAPS * 2 ** (len(WEIGHTS) - 1)
"""Pixels of a side that the coarsest scale's window still fits into."""


def psnr(original: Picture, decoded: Picture) -> float:
    """Peak signal-to-noise ratio in dB, over all three channels of [H,W,3] at once; infinite for equal pictures."""
    error = np.mean((original.astype(np.float32) - decoded) ** 2, dtype=np.float64)
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def decibels(similarity: float) -> float:
    """MS-SSIM on the scale on which it is compared; 0 dB is no similarity, 20 dB is .99."""
    return float(-10 * np.log10(max(1 - similarity, 1e-12)))


class MsSsim:
    """MS-SSIM to one original [H,W,3]; what depends on the original alone is computed once."""

    def __init__(self, original: Picture) -> None:
        """Raise ValueError if a side is below `LEAST_SIDE`."""
        if min(original.shape[:2]) < LEAST_SIDE:
            raise ValueError(f"MS-SSIM: expected sides of at least {LEAST_SIDE} pixels, got {original.shape[:2]}")
        self._scales = [(x, blurred(x), blurred(x * x)) for x in pyramid(original)]

    def to(self, decoded: Picture) -> float:
        """The similarity to another picture [H,W,3]: 1 if equal."""
        result: NDArray[np.float64] = np.ones(3)
        for i, (known, y) in enumerate(zip(self._scales, pyramid(decoded), strict=True)):
            luminance, structure = similarity(*known, y)
            last = i == len(WEIGHTS) - 1
            # As everywhere, a mean below 0 counts as 0: a negative one has no real power.
            mean = np.mean(luminance * structure if last else structure, (1, 2), dtype=np.float64)
            result *= np.maximum(mean, 0) ** WEIGHTS[i]
        return float(result.mean())


def similarity(x: Planes, mean_x: Planes, square_x: Planes, y: Planes) -> tuple[Planes, Planes]:
    """Luminance, and contrast times structure, at every place of a window, given the original's blurred planes."""
    mean_y, product = blurred(y), blurred(x * y)
    variance_x, variance_y = square_x - mean_x**2, blurred(y * y) - mean_y**2
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance, (2 * (product - mean_x * mean_y) + C2) / (variance_x + variance_y + C2)


def pyramid(picture: Picture) -> list[Planes]:
    """The picture's planes [3,H,W] at each scale."""
    scales = [np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)]
    for _ in WEIGHTS[1:]:
        scales.append(halved(scales[-1]))
    return scales


def halved(planes: Planes) -> Planes:
    """Means of 2 x 2; a last odd row or column is left out."""
    height, width = planes.shape[1] // 2 * 2, planes.shape[2] // 2 * 2
    cut = planes[:, :height, :width]
    result: Planes = (cut[:, ::2, ::2] + cut[:, 1::2, ::2] + cut[:, ::2, 1::2] + cut[:, 1::2, 1::2]) / 4
    return result


def blurred(planes: Planes) -> Planes:
    """[C,H,W] -> [C,H-10,W-10]: the Gaussian mean at every place where the window lies inside."""
    offsets = np.arange(TAPS) - TAPS // 2
    gauss = np.exp(-(offsets**2) / (2 * SIGMA**2))
    gauss = (gauss / gauss.sum()).astype(np.float32)
    height, width = planes.shape[1] - TAPS + 1, planes.shape[2] - TAPS + 1
    rows = sum(tap * planes[:, i : i + height] for i, tap in enumerate(gauss))
    return np.asarray(sum(tap * rows[..., i : i + width] for i, tap in enumerate(gauss)))
