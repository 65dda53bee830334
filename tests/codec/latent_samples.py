"""Networks of integers, rows and coders of latents for the tests: random ones, with all that is rare in them."""

from copy import copy
from itertools import pairwise
from math import erf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec.arithmetic import REFERENCE
from common.codec.elements import SCALES, Cells
from common.codec.integers import RELU, SHUFFLE, TOP, Convolution, IntegerNet
from common.codec.latent import Decoded, LatentCoder
from common.codec.passes import ALL, EVEN, ODD, seen
from common.codec.values import Rows

Arrays = dict[str, NDArray[Any]]
Kinds = list[tuple[int, int, int]]
"""Of each layer: outputs, size of the kernel, RELU + SHUFFLE."""
Order = list[tuple[int, int, int]]
"""Of each pass: first channel, end, parity."""


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


def head_arrays(rng: np.random.Generator, inputs: int, channels: int, prefix: str) -> Arrays:
    """A head whose means are half a spread."""
    arrays = net_arrays(rng, inputs, [(2 * channels, 1, 0)], TOP, prefix)
    shift = arrays[f"{prefix}.0.shift"] + np.uint8(4)
    arrays[f"{prefix}.0.shift"] = np.concatenate([shift[:channels], shift[channels:] + np.uint8(1)])
    return arrays


def pass_arrays(rng: np.random.Generator, inputs: int, order: Order) -> Arrays:
    """Of passes whose heads take so many inputs, besides those of their own context."""
    arrays: Arrays = {"passes": np.array(order, np.uint16)}
    for number, (first, end, parity) in enumerate(order):
        own, limit = int(rng.integers(1, 6)), int(rng.choice([500, 32767]))
        if known := seen(first, end, parity):
            kinds = [(7, 3, RELU), (own, 1 + 2 * int(rng.integers(2)), RELU)]
            arrays |= net_arrays(rng, known, kinds, limit, f"pass.{number}.context")
        arrays |= head_arrays(rng, inputs + own * (known > 0), end - first, f"pass.{number}.head")
    return arrays


def order_of(rng: np.random.Generator, channels: int) -> Order:
    """Channels in groups, each at once or on a checkerboard."""
    ends = sorted({channels, *rng.integers(1, channels + 1, 3).tolist()})
    groups = list(pairwise([0, *ends]))
    boards = rng.integers(2, size=len(groups)).tolist()
    pairs = zip(groups, [((EVEN, ODD) if board else (ALL,)) for board in boards], strict=True)
    return [(first, end, parity) for (first, end), parities in pairs for parity in parities]


def coder_arrays(
    rng: np.random.Generator,
    channels: int,
    hyper: int,
    halvings: int,
    context: int = 0,
    hidden: int = 10,
    order: Order | None = None,
) -> Arrays:
    """Of a latent "latent" whose scales are about one spread of their channel; with an order in passes.

    With passes there are all exponents.
    """
    kinds = [(hidden, 3, RELU)] + [(4 * hidden, 1 + 2 * (i % 2), RELU | SHUFFLE) for i in range(halvings)]
    arrays = net_arrays(rng, hyper, kinds, 2047, "decoder")
    if order:
        arrays |= pass_arrays(rng, hidden + context, order)
    else:
        arrays |= head_arrays(rng, hidden + context, channels, "head")
    if context:
        arrays |= net_arrays(rng, channels, [(context, 1, RELU)], 32767, "context")
    levels = np.array([0, 200, 300, 480], np.uint16)
    arrays |= {
        "exponent": rng.integers(*((-16, 9) if order else (-4, 5)), channels, np.int8),
        "offset": rng.integers(-100, 400, (4, SCALES), np.int16),
        "levels": levels,
        "z_step": np.array([128, 90, 64, 33], np.int32),
        "centre": rng.integers(-90, 90, hyper, np.int32),
        **table(SCALE_OF, "y"),
        **table([0.05 if i % 5 == 0 else 0.3 * 1.7 ** (i % 9) for i in range(4 * hyper)], "z"),
    }
    return {f"latent.{name}": array for name, array in arrays.items()}


def coder(
    seed: int, channels: int, hyper: int, halvings: int, context: int = 0, order: Order | None = None
) -> LatentCoder:
    arrays = coder_arrays(np.random.default_rng(seed), channels, hyper, halvings, context, order=order)
    return LatentCoder.from_params(PARAMS, arrays, "latent")


def reference(of: LatentCoder) -> LatentCoder:
    other = copy(of)
    other.arithmetic = REFERENCE
    return other


class Case(NamedTuple):
    """A latent and its coder."""

    coder: LatentCoder
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    cells: Cells
    context: NDArray[np.int32] | None
    quality: int

    def encode(self, by: LatentCoder | None = None) -> tuple[bytes, NDArray[np.int32]]:
        return (by or self.coder).encode(self.y, self.z, self.quality, self.cells, self.context)

    def decode(self, payload: bytes, by: LatentCoder | None = None) -> Decoded:
        return (by or self.coder).decode(payload, *self.y.shape[1:], self.cells, self.context)


def case(seed: int, quality: int = 300, context: int = 0, channels: int = 7, passes: bool = False) -> Case:
    """Of up to 16 x 16 cells, of which some are coded; with passes in any order there is."""
    rng = np.random.default_rng(seed)
    halvings = int(rng.integers(3))
    order = order_of(np.random.default_rng(seed + 1), channels) if passes else None
    of = coder(seed, channels, int(rng.integers(1, 9)), halvings, context, order)
    height, width = (int(rng.integers(1, 5)) << halvings for _ in range(2))
    y, z = latent(rng, of, height, width)
    known = rng.integers(-5000, 5000, (context, height, width), np.int32) if context else None
    return Case(of, y, z, cells_in(rng, height, width), known, quality)


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
