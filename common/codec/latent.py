"""A latent and its hyperprior to bytes and back, in integers: codec 5's layers.

    y [C, H, W] -> mean and scale of each element, from z -> quantised -> values (rANS), pass after pass
    z [Z, H / 2^k, W / 2^k] ------------- quantised ------------------> values (rANS), first

     0         2
    +---------+-----------------------------------------
    | quality | values of z, then of y (values.py) ...
    +---------+-----------------------------------------

A network of integers, the hyper-decoder, makes means and scales of y from z, so both sides code under the same rows. A
latent may be coded in passes (`passes`), of which the later ones know the earlier, too. A value of y that came back is
an integer in 1/256: float32 holds it exactly, on any machine. The step is any of 64 an octave. docs/bitstream.md,
"Codec 5", is the normative text.
"""

from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from common.codec import passes, values
from common.codec.arithmetic import KERNEL, Arithmetic
from common.codec.container import check
from common.codec.elements import NARROW, SCALES, Cells, Features, Fixed, Parameters
from common.codec.integers import MOST_SIDE, IntegerNet, even
from common.codec.latent_model import Arrays, Model, Point, step_fixed
from common.codec.passes import Pass, Shape, Stage, Told, Walk
from common.codec.values import Index, Joined, Segment, Values

__all__ = ["Cells", "Decoded", "Fixed", "LatentCoder", "Model"]

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


class LatentCoder:
    """Codes y float32 [C, H, W] by way of z float32 [Z, H >> k, W >> k], which `halvings` k relates.

    With context (int32 [K, H, W], small integers that both sides have) the heads of the passes see it, too.
    """

    def __init__(
        self,
        model: Model,
        decoder: IntegerNet,
        order: Sequence[Pass],
        context_net: IntegerNet | None = None,
        *,
        unit: int,
        qualities: range,
        default_quality: int,
        arithmetic: Arithmetic = KERNEL,
    ) -> None:
        self.model, self.decoder, self.passes, self.context_net = model, decoder, tuple(order), context_net
        self.channels, self.hyper, self.halvings = len(model.exponent), len(model.centre), decoder.doublings
        self.context = order[0].beside(decoder.outputs)
        """Channels of it that heads take; 0 for none."""
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
        if self.context_net and self.context_net.outputs != self.context:
            raise ValueError(f"context: expected {self.context} outputs, got {self.context_net.outputs}")

    @classmethod
    def from_params(cls, params: Mapping[str, Any], arrays: Arrays, prefix: str) -> Self:
        """From the bundle. Raises KeyError, TypeError or ValueError.

        `unit`, the quality of a step of 1; `qualities` = [lowest, highest]; `default_quality`. Of `arrays`, each
        "PREFIX.NAME": what `Model` and `passes` need and the networks "decoder" and, where heads are to see more of
        the layer below, "context".
        """
        try:
            model = Model.from_arrays(arrays, prefix)
        except ValueError as error:
            raise ValueError(f"{prefix}.{error}") from error
        decoder = IntegerNet.from_arrays(arrays, f"{prefix}.decoder")
        order = passes.from_arrays(arrays, prefix, len(model.exponent), decoder.outputs)
        context = f"{prefix}.context"
        context_net = IntegerNet.from_arrays(arrays, context) if f"{context}.kinds" in arrays else None
        lowest, highest = (int(quality) for quality in params["qualities"])
        return cls(
            model,
            decoder,
            order,
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
        walk = self._walk(first.values, (height, width), cells, point, context)
        segments = Joined([first.values.size, *walk.lengths])
        (z_place, *places) = segments
        z_place.values[:], z_place.index[:] = first.values, first.index
        for stage, place in zip(walk, places, strict=True):
            q, index = (array.reshape(stage.of.channels, -1) for array in (place.values, place.index))
            for part, band, where in self._bands(stage, y, cells):
                known = self.parameters(stage, point, where)
                q[:, where] = steps = self.quantise(part, band, known, point)
                index[:, where] = known.index
                if fixed is not None or stage.wanted:
                    self.dequantise(steps.ravel(), known, point, slice(None))
                    stage.put(where, known.mean)
                if fixed is not None:
                    fixed[stage.of.part, stage.among_all(where)] = known.mean
        return HEADER.pack(quality) + self.arithmetic.encode(self.model.rows, segments)

    def decode(self, payload: bytes, height: int, width: int, cells: Cells, context: Values | None = None) -> Decoded:
        """The latent of a payload. Raises BitstreamError unless `encode` writes it for these cells."""
        self._check_grid(height, width, cells, context)
        check(len(payload) > HEADER.size, "latent", f"more than {HEADER.size} bytes", len(payload))
        (quality,) = HEADER.unpack_from(payload)
        check(quality in self.qualities, "quality", f"{self.qualities[0]}..{self.qualities[-1]}", quality)
        point, z_cells = self.point(quality), cells.halved(self.halvings)
        decoder = self.arithmetic.decoder(payload[HEADER.size :], self.model.rows)
        z = decoder.take(self._hyper_index(z_cells, point))
        rows, columns = cells.shape
        fixed = np.empty((self.channels, rows * columns), np.int32)
        for stage in self._walk(z, (height, width), cells, point, context):
            known = self.parameters(stage, point, to=fixed[stage.of.part] if stage.whole else None)
            for at in range(0, known.index.size, CHUNK):
                part = slice(at, at + CHUNK)
                self.dequantise(decoder.take(known.index.reshape(-1)[part]), known, point, part)
            stage.put(slice(0, stage.count), known.mean)
            if not stage.whole:
                fixed[stage.of.part, stage.places] = known.mean
        decoder.end()
        return Decoded(placed(fixed, cells, height, width), quality)

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

    def _walk(self, z: Values, grid: tuple[int, int], cells: Cells, point: Point, context: Values | None) -> Walk:
        """Over the coded cells, from z as it was coded; where it was not, it is its centre."""
        whole = np.zeros((self.hyper, *(size >> self.halvings for size in grid)), np.int32)
        part = cells.halved(self.halvings)
        part.within(whole)[:] = z.reshape(-1, *part.shape)
        hidden = self.arithmetic.run(self.decoder, self.decoder.enter(self.hyper_of(whole, point)))
        beside = None if context is None else cells.within(context).reshape(len(context), -1)
        return self.walk(cells_of(hidden, cells), beside, (1, *cells.shape))

    def _bands(self, stage: Stage, y: Features, cells: Cells) -> Iterator[tuple[Features, Cells, slice]]:
        """The elements of a pass, some at a time: cells of a y, and which of the pass's they are.

        Of a pass at all cells that is some rows.
        """
        y, most = y[stage.of.part], at_once(stage.of)
        if not stage.whole:
            y = cells.within(y).reshape(len(y), 1, -1)[..., stage.places]
            for at in range(0, stage.count, most):
                end = min(stage.count, at + most)
                yield y, Cells(0, at, 1, end), slice(at, end)
            return
        rows, columns = cells.shape
        each = max(1, most // columns)
        for at in range(0, rows, each):
            end = min(rows, at + each)
            yield y, cells._replace(top=cells.top + at, bottom=cells.top + end), slice(at * columns, end * columns)

    # ---- of numbers that are known

    def known(self, z: Values, grid: tuple[int, int], cells: Cells, point: Point) -> Parameters:
        """What the coded cells of a grid [H, W] are known by, from z [Z, its cells] in steps.

        Of a coder with a single pass, without context.
        """
        (stage,) = self._walk(z, grid, cells, point, None)
        return self.parameters(stage, point)

    def written(self, quality: int, z: Values, q: Values, index: Index) -> bytes:
        """The payload of z [Z, its cells] and y [C, cells] in steps, the latter under these rows, in a single pass."""
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

    def walk(self, hidden: Told, context: Values | None, shape: Shape) -> Walk:
        """Over cells of which the hyper-decoder made this [cells, its outputs, made even]; with context [K, cells]."""
        return Walk(
            self.passes, self.model.exponent, self.arithmetic, joined(hidden, self.decoder.outputs, context), shape
        )

    def parameters(self, stage: Stage, point: Point, part: slice | None = None, to: Fixed | None = None) -> Parameters:
        """Of some cells of a pass, begin to end, or of all; with means in `to` [its channels, cells] if that is given.

        The head is run on a part of them at a time.
        """
        of, (begin, end, _) = stage.of, (part or slice(None)).indices(stage.count)
        size, each = (of.channels, end - begin), at_once(of)
        known = Parameters(np.empty(size, np.int32) if to is None else to, np.empty(size, np.uint16))
        for at in range(begin, end, each):
            told = stage.told(slice(at, min(end, at + each)))
            said = self.arithmetic.run(of.head, told[None]).reshape(2 * of.channels, -1)
            self.arithmetic.parameters(said, self.model.exponent[of.part], point.row, at - begin, known)
        return known

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


def joined(hidden: Told, channels: int, context: Values | None) -> tuple[Told, int]:
    """What all heads are given, [cells, channels, made even], and its channels: what z says, then the context."""
    if context is None:
        return hidden, channels
    count = channels + len(context)
    made = np.zeros((len(hidden), even(count)), np.int16)
    made[:, :channels] = hidden[:, :channels]
    made[:, channels:count] = context.clip(-NARROW, NARROW).T
    return made, count


def at_once(of: Pass) -> int:
    """Cells whose parameters are worked out at a time, in a row: no more than a network's row may have."""
    return max(1, min(MOST_SIDE, CHUNK // (2 * of.channels)))


def placed(fixed: Fixed, cells: Cells, height: int, width: int) -> Fixed:
    """[C, cells] -> [C, height, width], 0 elsewhere."""
    if cells == (0, 0, height, width):
        return fixed.reshape(-1, height, width)
    grid = np.zeros((len(fixed), height, width), np.int32)
    cells.within(grid)[:] = fixed.reshape(-1, *cells.shape)
    return grid
