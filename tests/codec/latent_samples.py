"""Networks of integers, rows and coders of latents for the tests: random ones, with all that is rare in them."""

from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codec.elements import SCALES, Cells
from common.codec.integers import RELU, SHUFFLE, TOP, Convolution, IntegerNet
from common.codec.latent import LatentCoder
from common.codec.values import Rows

Arrays = dict[str, NDArray[Any]]
Kinds = list[tuple[int, int, int]]
"""Of each layer: outputs, size of the kernel, RELU + SHUFFLE."""


def net_arrays(rng: np.random.Generator, inputs: int, kinds: Kinds, limit: int, prefix: str = "net") -> Arrays:
    """A network whose numbers use the range there is: what comes out of a relu is neither all 0 nor all TOP."""
    arrays: Arrays = {
        f"{prefix}.kinds": np.array([kind for _, _, kind in kinds], np.uint8),
        f"{prefix}.input_limit": np.array(limit, np.int32),
    }
    most = limit
    for number, (outputs, size, kind) in enumerate(kinds):
        terms = inputs * size * size
        reach = min(2000, (2**31 - 2**20) // (terms * most) - 1)
        deviation = reach / 2 * most * sqrt(terms) / 3
        shift = np.clip(np.round(np.log2(deviation / 1000)) + rng.integers(-1, 2, outputs), 0, 20)
        arrays[f"{prefix}.{number}.weight"] = rng.integers(-reach, reach + 1, (outputs, inputs, size, size), np.int16)
        arrays[f"{prefix}.{number}.bias"] = rng.integers(-500, 500, outputs, np.int32)
        arrays[f"{prefix}.{number}.shift"] = shift.astype(np.uint8)
        inputs, most = outputs // 4 if kind & SHUFFLE else outputs, TOP
    return arrays


def net(rng: np.random.Generator, inputs: int, kinds: Kinds, limit: int) -> IntegerNet:
    return IntegerNet.from_arrays(net_arrays(rng, inputs, kinds, limit), "net")


def one_layer(weight: NDArray[Any], bias: list[int], shift: list[int], relu: bool = False) -> Convolution:
    return Convolution(weight.astype(np.int16), np.array(bias, np.int32), np.array(shift, np.uint8), relu, False)


def frequencies(scale: float) -> list[int]:
    """Of a bell of this deviation in steps; all on 0 for a narrow one."""
    if scale < 0.12:
        return [0] * 7 + [1 << 14] + [0] * 8
    below = [0.5 * (1 + erf((edge - 0.5) / scale / sqrt(2))) for edge in range(-7, 9)]
    counts = [1 + int((2**14 - 16) * chance) for chance in [*np.diff(below), 1 - below[-1] + below[0]]]
    counts[7] += 2**14 - sum(counts)
    return counts


def table(scales: list[float], name: str) -> Arrays:
    """ "NAME.bits" and "NAME.frequencies" of bells: wide ones leave low bits as they are."""
    bits = [min(14, max(0, int(np.ceil(np.log2(scale / 2))))) for scale in scales]
    rows = [frequencies(scale / 2**b) for scale, b in zip(scales, bits, strict=True)]
    return {f"{name}.bits": np.array(bits, np.uint8), f"{name}.frequencies": np.array(rows, np.uint16)}


def rows(scales: list[float]) -> Rows:
    arrays = table(scales, "x")
    return Rows(arrays["x.bits"], arrays["x.frequencies"])


SCALE_OF = [2.0 ** ((index - 26) / 8) for index in range(SCALES)]
PARAMS = {"unit": 300, "qualities": [40, 700], "default_quality": 300}


def coder_arrays(
    rng: np.random.Generator, channels: int, hyper: int, halvings: int, context: int = 0, hidden: int = 10
) -> Arrays:
    """Of a latent "latent" whose scales are about one spread of their channel."""
    kinds = [(hidden, 3, RELU)] + [(4 * hidden, 1 + 2 * (i % 2), RELU | SHUFFLE) for i in range(halvings)]
    arrays = net_arrays(rng, hyper, kinds, 2047, "decoder")
    arrays |= net_arrays(rng, hidden + context, [(2 * channels, 1, 0)], TOP, "head")
    shift = arrays["head.0.shift"] + np.uint8(4)  # means of half a spread
    arrays["head.0.shift"] = np.concatenate([shift[:channels], shift[channels:] + np.uint8(1)])
    if context:
        arrays |= net_arrays(rng, channels, [(context, 1, RELU)], 32767, "context")
    levels = np.array([0, 200, 300, 480], np.uint16)
    arrays |= {
        "exponent": rng.integers(-4, 5, channels, np.int8),
        "offset": rng.integers(-100, 400, (4, SCALES), np.int16),
        "levels": levels,
        "z_step": np.array([128, 90, 64, 33], np.int32),
        "centre": rng.integers(-90, 90, hyper, np.int32),
        **table(SCALE_OF, "y"),
        **table([0.05 if i % 5 == 0 else 0.3 * 1.7 ** (i % 9) for i in range(4 * hyper)], "z"),
    }
    return {f"latent.{name}": array for name, array in arrays.items()}


def coder(seed: int, channels: int, hyper: int, halvings: int, context: int = 0) -> LatentCoder:
    arrays = coder_arrays(np.random.default_rng(seed), channels, hyper, halvings, context)
    return LatentCoder.from_params(PARAMS, arrays, "latent")


def latent(
    rng: np.random.Generator, of: LatentCoder, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A y and z as such a latent could have them, and some that it could not."""
    spread = np.exp2(of.model.exponent.astype(np.float32))[:, None, None]
    y = rng.laplace(size=(of.channels, height, width)).astype(np.float32) * spread
    y *= rng.choice(np.array([0.01, 1, 1, 20], np.float32), y.shape)
    z = rng.laplace(scale=3, size=(of.hyper, height >> of.halvings, width >> of.halvings)).astype(np.float32)
    return y, z


def cells_in(rng: np.random.Generator, height: int, width: int) -> Cells:
    top, left = int(rng.integers(height)), int(rng.integers(width))
    return Cells(top, left, int(rng.integers(top + 1, height + 1)), int(rng.integers(left + 1, width + 1)))
