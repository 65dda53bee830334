"""Networks of integers: the same numbers on every machine, whatever order it adds them in.

What a decoder derives probabilities from must not depend on how a processor rounds. Hence convolutions of 16-bit
integers, summed in 32 bits that cannot overflow (checked when a network is loaded), then a shift that rounds:

    sum    = bias + sum of weight * x               1x1, or 3x3 with the edge repeated
    result = floor((sum + 2^(shift - 1)) / 2^shift) shift of the output channel; 0 rounds nothing
    relu     clamps to 0..4095                      every layer but, if it wants, the last
    shuffle  [4 C, H, W] -> [C, 2 H, 2 W]           torch's PixelShuffle(2)

docs/bitstream.md, "Integer networks", is the normative text. `forward_reference` sums in 64 bits; the kernel multiplies
pairs of channels at once (integers.c) and gives the same.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel

Arrays = Mapping[str, NDArray[Any]]
Integers = NDArray[np.int32]
Cells = NDArray[np.int16]
"""[H, W, C, made even]: all channels of a place side by side; the channel too many is 0."""

TOP = 4095
"""The largest number that a relu lets through."""
RELU, SHUFFLE = 1, 2
GROUP = 16
"""Output channels that the kernel works on side by side."""
MOST_LAYERS, MOST_CHANNELS, MOST_SHIFT, MOST_INPUT = 32, 4096, 30, 32767
MOST_SIDE = 1 << 16
"""Rows, and columns, of what a network is run on; as in integers.c."""


class Convolution(NamedTuple):
    """One layer."""

    weight: NDArray[np.int16]
    """[O, I, k, k] with k 1 or 3."""
    bias: NDArray[np.int32]
    """[O]"""
    shift: NDArray[np.uint8]
    """[O]"""
    relu: bool
    shuffle: bool


class Packed(NamedTuple):
    """One layer as the kernel reads it."""

    taps: int
    """1 or 9."""
    weight: NDArray[np.int16]
    """[groups, taps * pairs of inputs, GROUP, 2]: outputs of one place together, filled up to even groups."""
    bias: NDArray[np.int32]
    """[O], with what rounding adds."""
    shift: NDArray[np.int32]
    """[O]"""
    relu: bool
    shuffle: bool


class IntegerNet:
    """A chain of layers: int32 [C, H, W] -> int32 [O, H', W'], every shuffle doubling height and width."""

    def __init__(self, layers: Sequence[Convolution], input_limit: int) -> None:
        if not 1 <= len(layers) <= MOST_LAYERS:
            raise ValueError(f"layers: expected 1..{MOST_LAYERS}, got {len(layers)}")
        if not 1 <= input_limit <= MOST_INPUT:
            raise ValueError(f"input_limit: expected 1..{MOST_INPUT}, got {input_limit}")
        for number, layer in enumerate(layers):
            check_layer(number, layer, TOP if number else input_limit, last=number == len(layers) - 1)
        for number, (before, layer) in enumerate(pairwise(layers), 1):
            if layer.weight.shape[1] != width(before):
                raise ValueError(f"{number}.weight: expected {width(before)} inputs, got {layer.weight.shape[1]}")
        self.layers, self.input_limit = tuple(layers), input_limit
        self.packed = [pack(layer) for layer in layers]
        self.inputs, self.outputs = int(layers[0].weight.shape[1]), width(layers[-1])
        self.doublings = sum(layer.shuffle for layer in layers)

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str) -> Self:
        """From the bundle. Raises KeyError or ValueError; the latter, too, if any sum could leave 32 bits.

        "PREFIX.kinds" uint8 [layers], RELU + SHUFFLE; "PREFIX.input_limit" int32 []; of layer i
        "PREFIX.i.weight" int16 [O, I, k, k], "PREFIX.i.bias" int32 [O], "PREFIX.i.shift" uint8 [O].
        """
        kinds, limit = arrays[f"{prefix}.kinds"], arrays[f"{prefix}.input_limit"]
        if kinds.dtype != np.uint8 or kinds.ndim != 1 or (kinds > RELU + SHUFFLE).any():
            raise ValueError(f"{prefix}.kinds: expected uint8 [layers] up to 3, got {kinds.dtype} {list(kinds.shape)}")
        if limit.dtype.kind not in "iu" or limit.size != 1:
            raise ValueError(f"{prefix}.input_limit: expected one integer, got {limit.dtype} {list(limit.shape)}")
        layers = []
        for number, kind in enumerate(kinds.tolist()):
            weight, bias, shift = (arrays[f"{prefix}.{number}.{part}"] for part in ("weight", "bias", "shift"))
            layers.append(Convolution(weight, bias, shift, bool(kind & RELU), bool(kind & SHUFFLE)))
        try:
            return cls(layers, int(limit.reshape(())))
        except ValueError as error:
            raise ValueError(f"{prefix}.{error}") from error

    def __call__(self, x: NDArray[np.integer[Any]]) -> Integers:
        """Integers [inputs, H, W], clamped to the input's limit, to int32 [outputs, H', W'], by the kernel."""
        found = self.run(self.enter(x))
        planes = found[..., : self.outputs].transpose(2, 0, 1) if self.layers[-1].relu else found
        integers: Integers = np.require(planes, np.int32, ["C"])
        return integers

    def enter(self, x: NDArray[np.integer[Any]]) -> Cells:
        """Integers [C, H, W], clamped, as the kernel takes them."""
        channels, height, breadth = x.shape
        cells = np.zeros((height, breadth, even(channels)), np.int16)
        cells[..., :channels] = np.clip(x, -self.input_limit, self.input_limit).transpose(1, 2, 0)
        return cells

    def run(self, cells: Cells) -> NDArray[np.int16] | Integers:
        """Of what `enter` made, or other cells within the input's limit.

        Returns cells int16 [H', W', O, made even] if the last layer is a relu, else int32 [O, H', W'].
        """
        if cells.ndim != 3 or cells.shape[2] != even(self.inputs) or cells.dtype != np.int16:
            raise ValueError(f"x: expected {self.inputs} channels, got {cells.dtype} {list(cells.shape)}")
        found: NDArray[Any] = np.require(cells, np.int16, ["C", "A"])
        for layer in self.packed:
            found = convolve(layer, found)
        return found

    def run_each(self, cells: NDArray[np.int16]) -> NDArray[np.int16]:
        """The same of many small grids [n, H, W, C, made even] at once, each by itself: its edge is repeated.

        The last layer has to be a relu. Returns [n, H', W', O, made even].
        """
        found = cells.transpose(1, 0, 2, 3)  # all side by side, as one grid of their height
        for layer in self.packed:
            border = 1 if layer.taps > 1 else 0
            wide = np.pad(found, ((0, 0), (0, 0), (border, border), (0, 0)), "edge") if border else found
            rows, count, columns, channels = wide.shape
            made = convolve(layer, np.require(wide, np.int16, ["C", "A"]).reshape(rows, count * columns, channels))
            factor = 2 if layer.shuffle else 1
            made = made.reshape(factor * rows, count, factor * columns, -1)
            found = made[:, :, factor * border : factor * (columns - border)]
        return found.transpose(1, 0, 2, 3)

    def forward_reference(self, x: NDArray[np.integer[Any]]) -> Integers:
        """The same as calling it, in NumPy and 64 bits."""
        if x.ndim != 3 or x.shape[0] != self.inputs:
            raise ValueError(f"x: expected {self.inputs} channels, got {list(x.shape)}")
        found: NDArray[np.int64] = np.clip(x, -self.input_limit, self.input_limit).astype(np.int64)
        for layer in self.layers:
            found = forward(layer, found)
        return found.astype(np.int32)


def even(count: int) -> int:
    """The kernel multiplies pairs."""
    return count + count % 2


def width(layer: Convolution) -> int:
    """Channels that come out of it."""
    return int(layer.weight.shape[0]) // (4 if layer.shuffle else 1)


def check_layer(number: int, layer: Convolution, most: int, *, last: bool) -> None:
    """ValueError unless its arrays fit each other and no sum of products with inputs up to `most` leaves 32 bits."""
    weight, bias, shift = layer.weight, layer.bias, layer.shift
    got = f"{weight.dtype} {list(weight.shape)}"
    if weight.dtype != np.int16 or weight.ndim != 4 or weight.shape[2:] not in ((1, 1), (3, 3)):
        raise ValueError(f"{number}.weight: expected int16 [O, I, k, k] with k 1 or 3, got {got}")
    outputs, inputs = weight.shape[:2]
    if not (0 < outputs <= MOST_CHANNELS and 0 < inputs <= MOST_CHANNELS):
        raise ValueError(f"{number}.weight: expected 1..{MOST_CHANNELS} channels, got {got}")
    if bias.dtype != np.int32 or bias.shape != (outputs,):
        raise ValueError(f"{number}.bias: expected int32 [{outputs}], got {bias.dtype} {list(bias.shape)}")
    if shift.dtype != np.uint8 or shift.shape != (outputs,) or shift.max() > MOST_SHIFT:
        raise ValueError(f"{number}.shift: expected uint8 [{outputs}] up to {MOST_SHIFT}")
    if not (layer.relu or last):
        raise ValueError(f"{number}: expected a relu in every layer but the last")
    if layer.shuffle and (outputs % 4 or not layer.relu):
        raise ValueError(f"{number}: expected a relu and outputs in fours where they are shuffled")
    sums = np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)) * most + np.abs(bias.astype(np.int64)) + half(shift)
    if sums.max() >= 1 << 31:
        raise ValueError(f"{number}.weight: expected sums below 2^31, output {sums.argmax()} may reach {sums.max()}")


def half(shift: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What rounding adds before the shift."""
    return (np.int64(1) << shift.astype(np.int64)) >> 1


# ---- Reference -------------------------------------------------------------------------------------------------


def forward(layer: Convolution, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """[I, H, W] -> [O, H', W']."""
    _, height, breadth = x.shape
    size, border = layer.weight.shape[2], layer.weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border)), mode="edge")
    found = np.zeros((len(layer.bias), height, breadth), np.int64) + layer.bias[:, None, None]
    for row in range(size):
        for column in range(size):
            moved = padded[:, row : row + height, column : column + breadth]
            found += np.tensordot(layer.weight[:, :, row, column].astype(np.int64), moved, 1)
    found = (found + half(layer.shift)[:, None, None]) >> layer.shift.astype(np.int64)[:, None, None]
    found = found.clip(0, TOP) if layer.relu else found
    if layer.shuffle:
        found = found.reshape(-1, 2, 2, height, breadth).transpose(0, 3, 1, 4, 2)
        found = found.reshape(-1, 2 * height, 2 * breadth)
    return found


# ---- Kernel ----------------------------------------------------------------------------------------------------


def pack(layer: Convolution) -> Packed:
    """Weights in the order in which the kernel walks: group, tap, pair of inputs, output, input of the pair."""
    outputs, inputs, size, _ = layer.weight.shape
    order = np.arange(outputs)
    if layer.shuffle:
        order = order.reshape(-1, 4).T.ravel()
    groups = 2 * -(-outputs // (2 * GROUP))
    filled = np.zeros((groups * GROUP, size * size, even(inputs)), np.int16)
    filled[:outputs, :, :inputs] = layer.weight[order].reshape(outputs, inputs, -1).transpose(0, 2, 1)
    pairs = filled.reshape(groups, GROUP, -1, 2).transpose(0, 2, 1, 3)
    bias = (layer.bias + half(layer.shift)).astype(np.int32)[order]
    shift = layer.shift.astype(np.int32)[order]
    return Packed(size * size, np.ascontiguousarray(pairs), bias, shift, layer.relu, layer.shuffle)


def convolve(layer: Packed, x: Cells) -> NDArray[Any]:
    """One layer: cells int16 after a relu, else planes int32."""
    height, breadth, _ = x.shape
    outputs, factor = len(layer.bias), 2 if layer.shuffle else 1
    to: NDArray[Any]
    if layer.relu:
        to = np.empty((factor * height, factor * breadth, even(outputs // factor**2)), np.int16)
    else:
        to = np.empty((outputs, height, breadth), np.int32)
    flags = RELU * layer.relu + SHUFFLE * layer.shuffle
    _kernel.integers_layer(x, (height, breadth), layer.taps, layer.weight, layer.bias, layer.shift, flags, to)
    return to
