"""A latent and its hyperprior to bytes and back, in integers: codec 5's layers.

    y [C, H, W] -> mean and scale of each element, from z -> quantised -> values (rANS)
    z [Z, H / 2^k, W / 2^k] ------------- quantised ------------------> values (rANS), first

     0         2
    +---------+-----------------------------------------
    | quality | values of z, then of y (values.py) ...
    +---------+-----------------------------------------

A network of integers, the hyper-decoder, makes means and scales of y from z, so both sides code under the same rows. A
value of y that came back is an integer in 1/256: float32 holds it exactly, on any machine. The step is any of 64 an
octave. `KERNEL` and `REFERENCE` do the same. docs/bitstream.md, "Codec 5", is the normative text.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import elements, values
from common.codec.container import check
from common.codec.elements import NARROW, SCALES, Cells, Features, Fixed, Parameters
from common.codec.integers import IntegerNet
from common.codec.latent_model import Arrays, Model, Point, step_fixed
from common.codec.rounding import Thresholds
from common.codec.values import (
    Decoder,
    EachDecoder,
    EachReference,
    Index,
    Joined,
    Lengths,
    ReferenceDecoder,
    Rows,
    Segment,
    Values,
)

__all__ = ["KERNEL", "REFERENCE", "Cells", "Decoded", "Fixed", "LatentCoder", "Model"]

HEADER = Struct(">H")
CHUNK = 1 << 20
"""Elements decoded, or asked of the hyper-decoder, at a time: what bounds the memory of a large picture. A multiple of
values.RUN."""


def quality_of(payload: bytes) -> int:
    """What a payload was coded in, by its header alone. Raises BitstreamError if it has none."""
    check(len(payload) >= HEADER.size, "latent", f"at least {HEADER.size} bytes", len(payload))
    return int(HEADER.unpack_from(payload)[0])


class Decoded(NamedTuple):
    """A latent as it came back."""

    fixed: Fixed
    """[C, H, W], in 1/256; 0 outside the cells."""
    quality: int


class Takes(Protocol):
    """A decoder of values."""

    def take(self, index: Index) -> Values:
        """The next values."""
        ...

    def end(self) -> None:
        """Raise BitstreamError unless it was all."""
        ...


def run_reference(net: IntegerNet, x: NDArray[Any]) -> NDArray[Any]:
    """`IntegerNet.run` by the network's reference."""
    found = net.forward_reference(x[..., : net.inputs].transpose(2, 0, 1))
    if not net.layers[-1].relu:
        return found
    cells = np.zeros((*found.shape[1:], found.shape[0] + found.shape[0] % 2), np.int16)
    cells[..., : found.shape[0]] = found.transpose(1, 2, 0)
    return cells


class TakesEach(Protocol):
    """A decoder of values of many streams at once, as `values.EachDecoder`."""

    def take(self, index: Index, lengths: Lengths) -> Values:
        """The next values of each."""
        ...

    def sound(self) -> NDArray[np.bool_]:
        """Which of them it was all of."""
        ...


def run_each_reference(net: IntegerNet, x: NDArray[Any]) -> NDArray[Any]:
    """`IntegerNet.run_each` by the network's reference, one after the other."""
    return np.stack([run_reference(net, one) for one in x])


class Arithmetic(NamedTuple):
    """How the parts of a coder are worked out: `KERNEL`, or `REFERENCE`, which is the same and slow."""

    run: Callable[[IntegerNet, NDArray[Any]], NDArray[Any]]
    run_each: Callable[[IntegerNet, NDArray[Any]], NDArray[Any]]
    parameters: Callable[[Values, NDArray[np.int8], int, int, Parameters], None]
    quantise: Callable[[Features, Cells, Parameters, Thresholds, int], Values]
    dequantise: Callable[[Values, Index, NDArray[np.int16], int, Fixed], None]
    encode: Callable[[Rows, Iterable[Segment]], bytes]
    decoder: Callable[[bytes, Rows], Takes]
    encode_each: Callable[[Rows, Values, Index, Lengths], list[bytes]]
    each_decoder: Callable[[Sequence[bytes], Rows], TakesEach]


KERNEL = Arithmetic(
    IntegerNet.run,
    IntegerNet.run_each,
    elements.parameters,
    elements.quantise,
    elements.dequantise,
    Rows.encode,
    Decoder,
    Rows.encode_each,
    EachDecoder,
)
REFERENCE = Arithmetic(
    run_reference,
    run_each_reference,
    elements.parameters_reference,
    elements.quantise_reference,
    elements.dequantise_reference,
    values.encode_reference,
    ReferenceDecoder,
    values.encode_each_reference,
    EachReference,
)


class LatentCoder:
    """Codes y float32 [C, H, W] by way of z float32 [Z, H >> k, W >> k], which `halvings` k relates.

    With context (int32 [K, H, W], small integers that both sides have) the hyper-decoder's last layer sees it, too.
    """

    def __init__(
        self,
        model: Model,
        decoder: IntegerNet,
        head: IntegerNet,
        context_net: IntegerNet | None = None,
        *,
        unit: int,
        qualities: range,
        default_quality: int,
        arithmetic: Arithmetic = KERNEL,
    ) -> None:
        self.model, self.decoder, self.head, self.context_net = model, decoder, head, context_net
        self.channels, self.hyper, self.halvings = len(model.exponent), len(model.centre), decoder.doublings
        self.context = head.inputs - decoder.outputs
        """Channels of it that the head takes; 0 for none."""
        self.unit, self.qualities, self.default_quality = unit, qualities, default_quality
        self.arithmetic = arithmetic
        self._check_nets()
        if not (qualities and qualities[0] >= 0 and qualities[-1] < 1 << 16):
            raise ValueError(f"qualities: expected [lowest, highest] of 0..65535, got {qualities}")
        if default_quality not in qualities:
            raise ValueError(f"default_quality: expected one of {qualities}, got {default_quality}")
        for quality in (qualities[0], qualities[-1]):
            step_fixed(unit - quality)  # ValueError for a step that is too small or too large

    def _check_nets(self) -> None:
        if self.decoder.inputs != self.hyper or not self.decoder.layers[-1].relu:
            raise ValueError(f"decoder: expected {self.hyper} inputs and a relu at last, got {self.decoder.inputs}")
        last = self.head.layers[-1]
        if len(self.head.layers) != 1 or last.relu or last.weight.shape[2] != 1 or self.context < 0:
            raise ValueError(f"head: expected one 1x1 layer of {self.decoder.outputs} inputs or more, without a relu")
        if self.head.outputs != 2 * self.channels:
            raise ValueError(f"head: expected {2 * self.channels} outputs, got {self.head.outputs}")
        if self.context_net and self.context_net.outputs != self.context:
            raise ValueError(f"context: expected {self.context} outputs, got {self.context_net.outputs}")

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Arrays, prefix: str) -> Self:
        """From the bundle. Raises KeyError, TypeError or ValueError.

        `unit`, the quality of a step of 1; `qualities` = [lowest, highest]; `default_quality`. Of `arrays`, each
        "PREFIX.NAME": what `Model` needs and the networks "decoder", "head" and, where the head is to see more,
        "context".
        """
        try:
            model = Model.from_arrays(arrays, prefix)
        except ValueError as error:
            raise ValueError(f"{prefix}.{error}") from error
        decoder, head = (IntegerNet.from_arrays(arrays, f"{prefix}.{name}") for name in ("decoder", "head"))
        context = f"{prefix}.context"
        context_net = IntegerNet.from_arrays(arrays, context) if f"{context}.kinds" in arrays else None
        lowest, highest = (int(quality) for quality in params["qualities"])
        return cls(
            model,
            decoder,
            head,
            context_net,
            unit=int(params["unit"]),
            qualities=range(lowest, highest + 1),
            default_quality=int(params["default_quality"]),
        )

    def point(self, quality: int) -> Point:
        """What a quality of the range means."""
        return self.model.point(quality, self.unit)

    def encode(
        self, y: Features, z: Features, quality: int | None, cells: Cells, context: Values | None = None
    ) -> tuple[bytes, Fixed]:
        """The payload, and [C, H, W] as a decoder will have it. NaN counts as 0. ValueError for what does not fit."""
        rows, columns = cells.shape
        fixed = np.empty((self.channels, max(0, rows) * max(0, columns)), np.int32)
        return self.payload(y, z, quality, cells, context, fixed), placed(fixed, cells, y.shape[1], y.shape[2])

    def payload(
        self,
        y: Features,
        z: Features,
        quality: int | None,
        cells: Cells,
        context: Values | None = None,
        fixed: Fixed | None = None,
    ) -> bytes:
        """The same without what a decoder will have, or with that in `fixed` [C, cells]: a large picture's is large."""
        quality = self.checked_quality(quality)
        height, width = y.shape[1:]
        self._check_grid(height, width, cells, context)
        coarse = (self.hyper, height >> self.halvings, width >> self.halvings)
        if y.shape != (self.channels, height, width) or z.shape != coarse:
            raise ValueError(f"y and z: expected {self.channels} and {self.hyper} channels, got {y.shape}, {z.shape}")
        point, z_cells = self.point(quality), cells.halved(self.halvings)
        first = Segment(self.quantise_hyper(z_cells.within(z), point).ravel(), self._hyper_index(z_cells, point))
        told = self._told(first.values, coarse, cells, point, context)
        segments = Joined([first.values.size, self.channels * len(told)])
        (z_place, y_place) = segments
        z_place.values[:], z_place.index[:] = first.values, first.index
        q, index = (array.reshape(self.channels, -1) for array in (y_place.values, y_place.index))
        for band, where in self._bands(cells):
            known = self._known(told[where], point)
            q[:, where] = steps = self.quantise(y, band, known, point)
            index[:, where] = known.index
            if fixed is not None:
                self.dequantise(steps.ravel(), known, point, slice(None))
                fixed[:, where] = known.mean
        return HEADER.pack(quality) + self.arithmetic.encode(self.model.rows, segments)

    def decode(self, payload: bytes, height: int, width: int, cells: Cells, context: Values | None = None) -> Decoded:
        """The latent of a payload. Raises BitstreamError unless `encode` writes it for these cells."""
        self._check_grid(height, width, cells, context)
        check(len(payload) > HEADER.size, "latent", f"more than {HEADER.size} bytes", len(payload))
        (quality,) = HEADER.unpack_from(payload)
        check(quality in self.qualities, "quality", f"{self.qualities[0]}..{self.qualities[-1]}", quality)
        point, z_cells = self.point(quality), cells.halved(self.halvings)
        coarse = (self.hyper, height >> self.halvings, width >> self.halvings)
        decoder = self.arithmetic.decoder(payload[HEADER.size :], self.model.rows)
        z = decoder.take(self._hyper_index(z_cells, point))
        known = self._known(self._told(z, coarse, cells, point, context), point)
        for at in range(0, known.index.size, CHUNK):
            part = slice(at, at + CHUNK)
            self.dequantise(decoder.take(known.index.reshape(-1)[part]), known, point, part)
        decoder.end()
        return Decoded(placed(known.mean, cells, height, width), quality)

    def _check_grid(self, height: int, width: int, cells: Cells, context: Values | None) -> None:
        less = (1 << self.halvings) - 1
        if height < 1 or width < 1 or height & less or width & less:
            raise ValueError(f"grid: expected multiples of {less + 1}, got {height} x {width}")
        if not (0 <= cells.top < cells.bottom <= height and 0 <= cells.left < cells.right <= width):
            raise ValueError(f"cells: expected some of {height} x {width}, got {tuple(cells)}")
        expected = (self.context, height, width) if self.context else None
        got = None if context is None else context.shape
        if got != expected:
            raise ValueError(f"context: expected {expected}, got {got}")

    def checked_quality(self, quality: int | None) -> int:
        """The one to use. ValueError if there is none such."""
        quality = self.default_quality if quality is None else quality
        if quality not in self.qualities:
            raise ValueError(f"quality: expected {self.qualities[0]}..{self.qualities[-1]}, got {quality}")
        return quality

    def _hyper_index(self, cells: Cells, point: Point) -> Index:
        rows, columns = cells.shape
        return np.repeat(self.hyper_rows(point), rows * columns)

    def _told(
        self, z: Values, coarse: tuple[int, int, int], cells: Cells, point: Point, context: Values | None
    ) -> NDArray[np.int16]:
        """What the head is given for the coded cells, from z as it was coded; where it was not, it is its centre."""
        whole = np.zeros(coarse, np.int32)
        part = cells.halved(self.halvings)
        part.within(whole)[:] = z.reshape(-1, *part.shape)
        hidden = self.arithmetic.run(self.decoder, self.decoder.enter(self.hyper_of(whole, point)))
        beside = None if context is None else cells.within(context).reshape(len(context), -1)
        return joined(cells_of(hidden, cells), self.decoder.outputs, beside, self.head)

    def _known(self, told: NDArray[np.int16], point: Point) -> Parameters:
        """Of cells that the head is told this of, [cells, inputs, made even]; it is run on a part of them at a time."""
        count = len(told)
        known = Parameters(np.empty((self.channels, count), np.int32), np.empty((self.channels, count), np.uint16))
        for at in range(0, count, self._at_once):
            said = self.arithmetic.run(self.head, told[None, at : at + self._at_once])
            self.arithmetic.parameters(said.reshape(2 * self.channels, -1), self.model.exponent, point.row, at, known)
        return known

    def _bands(self, cells: Cells) -> Iterator[tuple[Cells, slice]]:
        """Some rows of the coded cells at a time, and which they are of all of those."""
        rows, columns = cells.shape
        each = max(1, self._at_once // columns)
        for at in range(0, rows, each):
            end = min(rows, at + each)
            yield cells._replace(top=cells.top + at, bottom=cells.top + end), slice(at * columns, end * columns)

    @property
    def _at_once(self) -> int:
        """Cells whose parameters are worked out at a time."""
        return max(1, CHUNK // (2 * self.channels))

    # ---- of numbers that are known

    def known(self, z: Values, grid: tuple[int, int], cells: Cells, point: Point) -> Parameters:
        """What the coded cells of a grid [H, W] are known by, from z [Z, its cells] in steps; without context."""
        coarse = (self.hyper, grid[0] >> self.halvings, grid[1] >> self.halvings)
        return self._known(self._told(z.ravel(), coarse, cells, point, None), point)

    def written(self, quality: int, z: Values, q: Values, index: Index) -> bytes:
        """The payload of z [Z, its cells] and y [C, cells] in steps, the latter under these rows."""
        of_z = np.repeat(self.hyper_rows(self.point(quality)), z.shape[1])
        segments = Joined.of([Segment(z.ravel(), of_z), Segment(q.ravel(), index.ravel())])
        return HEADER.pack(quality) + self.arithmetic.encode(self.model.rows, segments)

    # ---- of any cells, in any order

    def hyper_rows(self, point: Point) -> Index:
        """Of z's channels [Z]."""
        first = SCALES + point.level * self.hyper
        return np.arange(first, first + self.hyper, dtype=np.uint16)

    def quantise_hyper(self, z: Features, point: Point) -> Values:
        """Z [Z, ...] in steps; NaN and what is in silent rows is 0."""
        over = (slice(None), *[None] * (z.ndim - 1))
        with np.errstate(invalid="ignore"):
            v = (64 * z.astype(np.float64) - self.model.centre[over]) / point.z_step
        v = np.nan_to_num(v).clip(-values.MOST, values.MOST)
        q = (np.sign(v) * np.floor(np.abs(v) + 0.5)).astype(np.int32)
        return np.where(self.model.rows.silent[self.hyper_rows(point)][over], 0, q).astype(np.int32)

    def hyper_of(self, q: Values, point: Point) -> Values:
        """What the hyper-decoder is given of z [Z, ...] in steps: in 1/64."""
        over, limit = (slice(None), *[None] * (q.ndim - 1)), self.decoder.input_limit
        return (q.astype(np.int64) * point.z_step + self.model.centre[over]).clip(-limit, limit).astype(np.int32)

    def parameters(self, hidden: NDArray[np.int16], context: Values | None, point: Point) -> Parameters:
        """Of what the hyper-decoder made for cells [cells, its outputs, made even], and their context [K, cells]."""
        return self._known(joined(hidden, self.decoder.outputs, context, self.head), point)

    def quantise(self, y: Features, cells: Cells, known: Parameters, point: Point) -> Values:
        """Of y [C, H, W] the elements of these cells, in steps [C, cells]: the numbers that cost least."""
        thresholds = self.model.thresholds[point.level]
        return self.arithmetic.quantise(np.require(y, np.float32, ["C", "A"]), cells, known, thresholds, point.step)

    def dequantise(self, q: Values, known: Parameters, point: Point, part: slice) -> None:
        """Values in place of the means of a part of all coded elements."""
        mean, index = known.mean.reshape(-1)[part], known.index.reshape(-1)[part]
        self.arithmetic.dequantise(q, index, self.model.offset[point.level], point.step, mean)


def cells_of(hidden: NDArray[np.int16], cells: Cells) -> NDArray[np.int16]:
    """[H, W, C] -> [cells, C]."""
    part = hidden[cells.top : cells.bottom, cells.left : cells.right]
    return part.reshape(-1, hidden.shape[2])


def joined(hidden: NDArray[np.int16], channels: int, context: Values | None, head: IntegerNet) -> NDArray[np.int16]:
    """What the head is given, [cells, inputs, made even]: what the decoder made, then the context."""
    made = np.zeros((len(hidden), head.inputs + head.inputs % 2), np.int16)
    made[:, :channels] = hidden[:, :channels]
    if context is not None:
        made[:, channels : head.inputs] = context.clip(-head.input_limit, head.input_limit).T
    return made if head.input_limit >= NARROW else made.clip(-head.input_limit, head.input_limit)


def placed(fixed: Fixed, cells: Cells, height: int, width: int) -> Fixed:
    """[C, cells] -> [C, height, width], 0 elsewhere."""
    if cells == (0, 0, height, width):
        return fixed.reshape(-1, height, width)
    grid = np.zeros((len(fixed), height, width), np.int32)
    cells.within(grid)[:] = fixed.reshape(-1, *cells.shape)
    return grid
