"""Denoisers that are told how strong the noise is: DnCNN in three uses of its one grey network, and non-local means.

The network (Zhang et al., "Beyond a Gaussian denoiser", 2017) knows grey pictures with noise of deviation 25. Other
noise is met by scaling the levels by 25 / sigma before it and back behind it, a known trick. Scaled up, levels leave
the range that the network has seen, and it fails there; so it then looks at several windows of levels, each as wide
as its range, and each level is taken from where it lies in the middle of one.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d

from bench.noise import Noise
from bench.pictures import Picture
from bench.settings import MissingDataError, data_root

Plane = NDArray[np.float32]
Denoiser = Callable[[Picture, float], Picture]
"""A picture uint8 [H,W,3] and the noise's standard deviation to the picture without it."""

WEIGHTS = Path("weights") / "dncnn_gray_25.pth"
KNOWN = 25.0
"""Standard deviation of the noise that the network was trained with."""
BEYOND = 0.1
"""By how much of its range a window's levels may leave it."""
STEP = 0.7
"""From a window to the next, in widths of one."""
STRENGTH = 0.75
"""Of non-local means, in deviations of the noise; more loses texture, less leaves noise."""
LEAST = 1.0
"""A deviation below which nothing is done."""

_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32)
TO_OPPONENT = _OPPONENT / np.linalg.norm(_OPPONENT, axis=1, keepdims=True)
"""Orthonormal: the noise stays white, and light has sqrt(3) times less of it beside what it shows."""


class DnCNN:
    """The residual network on planes of levels, in bfloat16, which costs it 0.02 dB."""

    def __init__(self, path: Path | None = None) -> None:
        """Load the weights, by default those in the data folder. Raises MissingDataError where they are not."""
        path = path or data_root() / WEIGHTS
        if not path.is_file():
            raise MissingDataError(f"no DnCNN in {path}: its weights are part of the data folder")
        kept = torch.load(path, map_location="cpu", weights_only=True)
        layers = [name.removesuffix(".weight") for name in kept if name.endswith(".weight")]
        self._layers = [(_fast(kept[f"{name}.weight"]), kept[f"{name}.bias"].bfloat16()) for name in layers]

    def plane(self, plane: Plane, sigma: float) -> Plane:
        """A plane [H,W] of levels, of any range, without noise of this deviation."""
        if sigma < LEAST:
            return plane
        scale = KNOWN / sigma
        x = torch.from_numpy(plane)[None, None] / 255
        total, weights = torch.zeros_like(x), torch.zeros_like(x)
        for middle in windows(scale, float(x.min()), float(x.max())):
            seen = ((x - middle) * scale + 0.5).clamp(-BEYOND, 1 + BEYOND)
            found = seen - self._noise(seen)
            weight = (0.5 - (found - 0.5).abs()).clamp(min=1e-3).square()
            total += weight * ((found - 0.5) / scale + middle)
            weights += weight
        return np.asarray((total / weights * 255)[0, 0].numpy(), np.float32)

    def rgb(self, picture: Picture, sigma: float) -> Picture:
        """Each of red, green and blue by itself."""
        return _rounded(np.stack([self.plane(_plane(picture, i), sigma) for i in range(3)], -1))

    def opponent(self, picture: Picture, sigma: float) -> Picture:
        """Light and two differences of colour, each by itself: the network's best use."""
        planes = _opponent(picture)
        return _back([self.plane(planes[0], sigma / np.sqrt(3)), *(self.plane(p, sigma) for p in planes[1:])])

    def left(self, picture: Picture, sigma: float) -> Picture:
        """The same for a picture that has lost some noise already: each plane is told what it still shows, if less."""
        planes = _opponent(picture)
        most = sigma / np.sqrt(3), sigma, sigma
        return _back([self.plane(p, min(s, deviation(p))) for p, s in zip(planes, most, strict=True)])

    def luma(self, picture: Picture, sigma: float) -> Picture:
        """Light alone; colour keeps its noise."""
        planes = _opponent(picture)
        return _back([self.plane(planes[0], sigma / np.sqrt(3)), *planes[1:]])

    @torch.inference_mode()
    def _noise(self, x: Tensor) -> Tensor:
        """What the network takes for noise, [1,1,H,W] in 0..1."""
        y = _fast(x)
        for i, (weight, bias) in enumerate(self._layers):
            y = conv2d(y, weight, bias, padding=1)
            y = y.relu_() if i < len(self._layers) - 1 else y
        return y.float()


def windows(scale: float, low: float, high: float) -> list[float]:
    """Middles of windows, 1 / scale wide, each less than `STEP` of that from the next, over levels from low to high."""
    width = 1 / scale
    if high - low <= width:
        return [(low + high) / 2]
    count = int(np.ceil((high - low - width) / (STEP * width))) + 1
    return [float(middle) for middle in np.linspace(low + width / 2, high - width / 2, count)]


def means(picture: Picture, sigma: float) -> Picture:
    """Non-local means, in colour as OpenCV does it."""
    h = STRENGTH * sigma
    return np.asarray(cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(picture), None, h, h, 7, 21), np.uint8)


def told(denoiser: Denoiser, picture: Picture, noise: Noise) -> Picture:
    """The picture without this noise.

    Noise that grows with the light is made even first and back behind (Anscombe's transform, as generalised by Murtagh,
    Starck and Bijaoui, 1995, without the inverse's small correction).
    """
    if not noise.gain:
        return denoiser(picture, noise.sigma)
    raised = np.float32(3 / 8 * noise.gain + noise.sigma**2 / noise.gain)
    low, high = np.sqrt(raised), np.sqrt(255 + raised)
    roots = (np.sqrt(picture.astype(np.float32) + raised) - low) / (high - low)
    # The root's noise has half the gain's root as its deviation, everywhere.
    sigma = np.sqrt(noise.gain) / 2 / (high - low)
    even = denoiser(_rounded(255 * roots), 255 * float(sigma))
    return _rounded((even.astype(np.float32) / 255 * (high - low) + low) ** 2 - raised)


def deviation(plane: Plane) -> float:
    """The noise that a plane [H,W] shows, by its finest diagonals (Donoho and Johnstone, 1994).

    Texture counts as noise, so it is rather too much.
    """
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    even = plane[:height, :width]
    diagonal = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745)


def _fast(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().to(memory_format=torch.channels_last)


def _plane(picture: Picture, channel: int) -> Plane:
    return np.ascontiguousarray(picture[..., channel], np.float32)


def _opponent(picture: Picture) -> list[Plane]:
    """Light, 0..255, and two differences, around 0, each [H,W]."""
    planes = np.ascontiguousarray((picture.astype(np.float32) @ TO_OPPONENT.T).transpose(2, 0, 1))
    return [planes[0] / np.float32(np.sqrt(3)), planes[1], planes[2]]


def _back(planes: list[Plane]) -> Picture:
    light, first, second = planes
    return _rounded(np.stack([light * np.float32(np.sqrt(3)), first, second], -1) @ TO_OPPONENT)


def _rounded(levels: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
