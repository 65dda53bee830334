"""One level of the CDF 9/7 wavelet by lifting: a picture to its low and its high frequencies, and back.

Each of the four lifting steps adds to one half of the samples what its neighbours in the other half say, so undoing
them in turn gives the picture back, whatever the numbers are (Daubechies and Sweldens, 1998). At the borders samples
are mirrored. Bands are scaled to be nearly orthonormal, so an error in one is as large in the picture.
"""

import torch
from torch import Tensor

STEPS = (-1.586134342, -0.052980118, 0.882911076, 0.443506852)
"""Of the odd samples, the even ones, and so on."""
SCALE = 1.149604398
BANDS = 3
"""Of high frequencies for each channel: across, down, and both."""


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return low and high: [N,C,H,W], H and W even -> low [N,C,H/2,W/2], high [N,3C,H/2,W/2]."""
    left, right = _forward(x, 3)
    (low, down), (across, both) = _forward(left, 2), _forward(right, 2)
    return low, torch.cat((across, down, both), 1)


def join(low: Tensor, high: Tensor) -> Tensor:
    """What `split` split."""
    across, down, both = high.chunk(BANDS, 1)
    return _inverse(_inverse(low, down, 2), _inverse(across, both, 2), 3)


def _forward(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The even samples along an axis become the low frequencies, the odd ones the high."""
    even, odd = (x[:, :, :, 0::2], x[:, :, :, 1::2]) if axis == 3 else (x[:, :, 0::2], x[:, :, 1::2])
    for number, weight in enumerate(STEPS):
        if number % 2 == 0:
            odd = odd + weight * (even + _after(even, axis))
        else:
            even = even + weight * (odd + _before(odd, axis))
    return even * SCALE, odd / SCALE


def _inverse(low: Tensor, high: Tensor, axis: int) -> Tensor:
    even, odd = low / SCALE, high * SCALE
    for number, weight in reversed(list(enumerate(STEPS))):
        if number % 2 == 0:
            odd = odd - weight * (even + _after(even, axis))
        else:
            even = even - weight * (odd + _before(odd, axis))
    return torch.stack((even, odd), axis + 1).flatten(axis, axis + 1)


def _after(x: Tensor, axis: int) -> Tensor:
    """The next sample in place of each; of the last one itself."""
    return torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)), axis)


def _before(x: Tensor, axis: int) -> Tensor:
    """The sample before in place of each; of the first one itself."""
    return torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)), axis)
