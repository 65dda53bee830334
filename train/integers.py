"""A trained hyper-decoder as a network of integers, which says the same on every machine.

A value of the network becomes an integer in units of 1/64 where it enters, of a power of two for each layer inside
(its largest value on calibration data, and some headroom, fills 0..4095), and of what its reader wants where it leaves.
A convolution then is

    (sum of weight * value + bias + half) >> shift

with a shift for each output, the largest that keeps the weights within 12 bits and every partial sum within 31.
docs/bitstream.md, "Integer networks", is the normative text; `common.codec.integers` runs what is made here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

INPUT_UNITS = 64.0
INPUT_LIMIT = 2047
"""What enters is clamped to +-2047: z within +-32."""
LARGEST = 4095
"""Of a value inside, which is never negative."""
WEIGHT_BITS = 11
"""Of a weight, beside its sign."""
HEADROOM = 1.25
MOST_SHIFT = 24
SUM_LIMIT = 2**31

RELU, SHUFFLE = 1, 2
"""Flags of a layer's kind."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Step:
    """A layer with weights and what follows it at once, before it becomes integers."""

    conv: nn.Conv2d
    kind: int

    def __call__(self, x: Tensor) -> Tensor:
        """The layer in floating point."""
        x = self.conv(x)
        x = F.relu(x) if self.kind & RELU else x
        return F.pixel_shuffle(x, 2) if self.kind & SHUFFLE else x


@dataclass(frozen=True)
class Layer:
    """One layer in integers: weight [O,I,k,k], bias [O], shift [O], and its kind."""

    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    shift: NDArray[np.uint8]
    kind: int

    def __call__(self, x: Tensor) -> Tensor:
        """The layer on whole numbers [N,I,H,W] in float64, which holds every partial sum exactly."""
        reach = self.weight.shape[2] // 2
        x = F.pad(x, (reach, reach, reach, reach), mode="replicate") if reach else x
        x = F.conv2d(x, torch.from_numpy(self.weight).double(), torch.from_numpy(self.bias).double())
        unit = torch.exp2(torch.from_numpy(self.shift).double())[:, None, None]
        x = torch.floor((x + torch.floor(unit / 2)) / unit)
        x = x.clamp(0, LARGEST) if self.kind & RELU else x
        return F.pixel_shuffle(x, 2) if self.kind & SHUFFLE else x


@dataclass(frozen=True)
class Chain:
    """A network of integers; `units` is what 1.0 is in its output, one number or [O]."""

    layers: tuple[Layer, ...]
    limit: int
    """The largest magnitude that may enter."""
    units: float | Array

    def __call__(self, x: Tensor) -> Tensor:
        """Whole numbers [N,I,H,W] in float64 -> the same [N,O,H',W']: what `common.codec.integers` must say."""
        x = x.clamp(-self.limit, self.limit)
        for layer in self.layers:
            x = layer(x)
        return x

    def arrays(self, prefix: str) -> dict[str, Array]:
        """What `IntegerNet.from_arrays` takes."""
        found: dict[str, Array] = {
            f"{prefix}.kinds": np.array([layer.kind for layer in self.layers], np.uint8),
            f"{prefix}.input_limit": np.array([self.limit], np.int32),
        }
        for i, layer in enumerate(self.layers):
            found |= {
                f"{prefix}.{i}.weight": layer.weight,
                f"{prefix}.{i}.bias": layer.bias,
                f"{prefix}.{i}.shift": layer.shift,
            }
        return found

    @classmethod
    def of(
        cls, net: nn.Sequential, examples: Sequence[Tensor], units: float = INPUT_UNITS, limit: int = INPUT_LIMIT
    ) -> Self:
        """A sequence that ends in a ReLU, of values in 1/`units` up to `limit` of them.

        The layers' units are chosen on `examples` [N,I,H,W] of its input. Raises ValueError.
        """
        steps = _steps(net)
        if not all(step.kind & RELU for step in steps):
            raise ValueError("a chain's layers all end in a ReLU: what follows the last one is a head")
        layers: list[Layer] = []
        known, most = units, limit
        for step, largest in zip(steps, _largest(steps, examples), strict=True):
            wanted = 2.0 ** np.floor(np.log2(LARGEST / max(HEADROOM * largest, 1e-3)))
            layers.append(_layer(step, known, wanted, most))
            known, most = wanted, LARGEST
        return cls(tuple(layers), limit, known)

    @classmethod
    def head(cls, conv: nn.Conv2d, known: float | Array, units: float | Array) -> Self:
        """One convolution alone, of values in units of `known` (one, or [I]), giving `units` (one, or [O])."""
        return cls((_layer(Step(conv, 0), known, units, LARGEST),), LARGEST, units)


def _steps(net: nn.Sequential) -> list[Step]:
    """Convolutions with what follows each. Raises ValueError if there is anything that integers do not know."""
    found: list[Step] = []
    flags = {nn.ReLU: RELU, nn.PixelShuffle: SHUFFLE}
    for module in net:
        if isinstance(module, nn.Conv2d):
            found.append(Step(_plain(module), 0))
        elif type(module) in flags and found:
            found[-1] = Step(found[-1].conv, found[-1].kind | flags[type(module)])
        else:
            raise ValueError(f"integer networks have no {module}")
    return found


def _plain(conv: nn.Conv2d) -> nn.Conv2d:
    """Raise ValueError unless it is a 1x1 convolution, or a 3x3 one that replicates the border."""
    size = conv.kernel_size
    bordered = size == (3, 3) and conv.padding == (1, 1) and conv.padding_mode == "replicate"
    if not (size == (1, 1) or bordered) or conv.stride != (1, 1) or conv.groups != 1 or conv.dilation != (1, 1):
        raise ValueError(f"integer networks have 1x1 and replicated 3x3 convolutions only, not {conv}")
    return conv


@torch.no_grad()
def _largest(steps: Sequence[Step], examples: Sequence[Tensor]) -> list[float]:
    """The largest value of each layer's output."""
    found = [0.0] * len(steps)
    for x in examples:
        for i, step in enumerate(steps):
            x = step(x)
            found[i] = max(found[i], float(x.max()))
    return found


def _layer(step: Step, known: float | Array, units: float | Array, limit: int) -> Layer:
    """A convolution of values in units `known` up to `limit`, its output in `units`. Raises ValueError."""
    conv = step.conv
    outputs, inputs = conv.weight.shape[:2]
    given = np.broadcast_to(np.asarray(known, np.float64), (inputs,))[None, :, None, None]
    wanted = np.broadcast_to(np.asarray(units, np.float64), (outputs,))
    weight = conv.weight.detach().double().cpu().numpy() * wanted[:, None, None, None] / given
    bias = np.zeros(outputs) if conv.bias is None else conv.bias.detach().double().cpu().numpy() * wanted
    shift = np.array([_shift(row, level, limit) for row, level in zip(weight, bias, strict=True)])
    factor = np.exp2(shift)
    return Layer(
        np.round(weight * factor[:, None, None, None]).astype(np.int16),
        np.round(bias * factor).astype(np.int32),
        shift.astype(np.uint8),
        step.kind,
    )


def _shift(weight: Array, bias: float, limit: int) -> int:
    """The largest shift at which these weights fit 12 bits and no partial sum can reach 2^31."""
    for shift in range(MOST_SHIFT, -1, -1):
        whole = np.abs(np.round(weight * 2.0**shift))
        # The half that rounds is added too.
        most = whole.sum() * limit + abs(round(bias * 2.0**shift)) + 2.0 ** max(shift - 1, 0)
        if whole.max() < 1 << WEIGHT_BITS and most < SUM_LIMIT:
            return shift
    raise ValueError(f"a weight of {np.abs(weight).max():.3g} units is too large for an integer network")
