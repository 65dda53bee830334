"""A trained latent as what its coder is made of: an integer hyper-decoder, and tables counted on pictures.

    float                              integers
    z / hyper step                     levels of quality, each with a step and a row for every channel
    hyper-decoder                      chain and head (`train.integers`)
    scale, a bell's width              one of 88 rows, an eighth of an octave apart, counted over all levels
    passes                             for each a chain, of what earlier ones brought back, and a head
    offsets, a net of scale and step   a table [level, row]

What a value costs is then counted and not computed, so it may be a little less than training believed.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.codec.latent import Cells
from common.codec.passes import ODD
from train import rows
from train.integers import INPUT_LIMIT, INPUT_UNITS, SHUFFLE, Chain
from train.nets import rate
from train.nets.latent import Latent
from train.nets.passes import Pass, Told, cells

SCALES = 88
UNIT_SCALE = 26
"""The row of a scale of one step."""
MEAN_UNITS, SCALE_UNITS = 64.0, 8.0
LEVEL = 16
"""Qualities of a level: a quarter of an octave of the step."""
REACH, HYPER_REACH = 2047, 255
"""Larger values count as of this size."""
LEAN, HYPER_LEAN = 200.0, 30.0
"""Values for which a row's prior stands."""
RARE = 1000
"""Values below which nobody can say that a row may be silent."""
SPARSE = 4
"""Each example is counted at one level of so many."""
OFFSET_UNITS = 1024

Array = NDArray[Any]


@dataclass(frozen=True)
class Rates:
    """What qualities there are: the step is 1 at `unit` and halves every 64."""

    unit: int
    qualities: range
    default: int

    @property
    def levels(self) -> list[int]:
        """The first quality of each level."""
        return list(self.qualities[::LEVEL])

    def step(self, quality: float) -> float:
        """The step at a quality."""
        return float(2.0 ** ((self.unit - quality) / 64))

    def level(self, quality: int) -> int:
        """The level that a quality belongs to."""
        return sum(first <= quality for first in self.levels) - 1

    def middle(self, level: int) -> int:
        """The quality that stands for a level."""
        return int(min(self.levels[level] + LEVEL // 2, self.qualities[-1]))

    def params(self) -> dict[str, Any]:
        """What the manifest says of them."""
        lowest, highest = self.qualities[0], self.qualities[-1]
        return {"unit": self.unit, "qualities": [lowest, highest], "default_quality": self.default}


@dataclass(frozen=True)
class Example:
    """A latent y [C,H,W] in float32, 0 outside `cells`; `context` [K,H,W] whole numbers, where p(y) has one.

    Or many of one size that know nothing of each other, [N,C,H,W] and [N,K,H,W].
    """

    y: Tensor
    cells: Cells
    context: Tensor | None = None
    level: int | None = None
    """The only level at which it is counted: that of what lies below it. None: at some of all."""

    def coded(self, planes: Tensor) -> Tensor:
        """The part of [...,H,W] that is coded."""
        return within(self.cells, planes)


def within(cells: Cells, planes: Tensor) -> Tensor:
    """The cells of [...,H,W]."""
    return planes[..., cells.top : cells.bottom, cells.left : cells.right]


@dataclass(frozen=True)
class Reader:
    """What says means and scales of a pass."""

    of: Pass
    context: Chain | None
    """Of the state: nothing if the pass sees none."""
    head: Chain

    def __call__(self, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Of hidden [...,D,h,w] and the state [...,C,h,w], 1/64 of a spread, means and scales in their units."""
        if self.context is not None:
            hidden = torch.cat((hidden, self.context(state[..., : self.of.seen, :, :])), -3)
        mean, scale = self.head(hidden).chunk(2, -3)
        return mean, scale

    def cells(self, y: Tensor) -> Tensor:
        """Which of those of [...,h,w] the pass codes."""
        return cells(self.of.parity, *y.shape[-2:]).bool()


@dataclass(frozen=True)
class Model:
    """The integers of a latent that decide before anything is counted."""

    latent: Latent
    rates: Rates
    chain: Chain
    readers: tuple[Reader, ...]
    """Of the passes; of all channels at once if there are none."""
    exponent: Tensor
    """[C], of 2."""
    centre: Tensor
    """[Z,1,1], in 1/64."""
    z_step: Tensor
    """[levels], in 1/64."""
    offset: Array
    """[level, row], in steps."""

    @classmethod
    def of(cls, latent: Latent, rates: Rates, examples: Sequence[Example], context_units: float = 1.0) -> "Model":
        """The latent in integers; its activations' reach is taken from examples, `context` in 1/context_units.

        Says so if values of their z lie beyond what may enter the hyper-decoder.
        """
        entering = [hyper(latent, each.y) for each in examples]
        _tell_clipped(entering)
        chain = Chain.of(latent.decoder.layers, entering)
        below = 0 if examples[0].context is None else examples[0].context.shape[-3]
        known = np.repeat([chain.units, context_units], [latent.decoder.layers[0].out_channels, below])
        return cls(
            latent,
            rates,
            chain,
            tuple(_readers(latent, examples, known)),
            torch.log2(latent.spread).round().double(),
            torch.round(latent.prior.centre.detach().double() * INPUT_UNITS),
            torch.round(_z_steps(latent, rates) * INPUT_UNITS),
            learned_offsets(latent, rates),
        )

    def whole(self, example: Example, level: int) -> tuple[Tensor, Tensor]:
        """Of an example's z: the numbers that are coded [...,Z,h,w], and what enters the hyper-decoder [...,Z,H',W'].

        Only cells that coded cells of y lie in are coded; elsewhere, z is its centre.
        """
        z, step = hyper(self.latent, example.y), self.z_step[level]
        coded = within(
            example.cells.halved(self.halvings), rate.straight((z.double() * INPUT_UNITS - self.centre) / step)
        )
        entering = self.centre.expand(z.shape).clone()
        within(example.cells.halved(self.halvings), entering)[:] += coded * step
        return coded, entering.clamp(-INPUT_LIMIT, INPUT_LIMIT)

    @property
    def halvings(self) -> int:
        """Of y's grid to z's."""
        return sum(layer.kind & SHUFFLE > 0 for layer in self.chain.layers)

    def said(self, example: Example, entering: Tensor, quality: int) -> tuple[Tensor, Tensor]:
        """Of the coded cells: means [...,C,h,w], float64 in units of y, and the rows [...,C,h,w] that are named.

        What passes are told of is rounded to the nearest here. Counting what is rounded as encoders do it was tried: no
        fewer bytes.
        """
        hidden = self.chain(entering)
        if example.context is not None:
            hidden = torch.cat((hidden, example.context.double()), -3)
        hidden, y = example.coded(hidden), example.coded(example.y).double()
        offset, step = torch.from_numpy(self.offset[self.rates.level(quality)]), self.rates.step(quality)
        unit, spread = (self.rates.unit - quality + 4) // 8, torch.exp2(self.exponent)[:, None, None]
        mean, index, state = torch.zeros_like(y), torch.zeros_like(y, dtype=torch.long), torch.zeros_like(y)
        for reader in self.readers:
            part, here = (..., slice(reader.of.first, reader.of.end), slice(None), slice(None)), reader.cells(y)
            means, scales = reader(hidden, state)
            means = means / MEAN_UNITS * spread[part]
            rows_ = (scales - unit + UNIT_SCALE).clamp(0, SCALES - 1).long()
            q = rate.straight((y[part] - means) / step)
            back = torch.round((means + rate.dequantised(q, offset[rows_]) * step) / spread[part] * INPUT_UNITS)
            for whole, new in ((mean, means), (index, rows_), (state, back)):
                whole[part] = torch.where(here, new, whole[part])
        return mean, index


@dataclass
class Counts:
    """How often values came, and what they were on average."""

    levels: int
    channels: int
    y: Array = field(init=False)
    """[row, value]."""
    z: Array = field(init=False)
    """[level, channel, value]."""
    dropped: Array = field(init=False)
    """[row]: what the squares of its values are more than those of their rounding errors, in all."""

    def __post_init__(self) -> None:
        self.y = np.zeros((SCALES, 2 * REACH + 1))
        self.z = np.zeros((self.levels, self.channels, 2 * HYPER_REACH + 1))
        self.dropped = np.zeros(SCALES)

    def add_y(self, v: Tensor, index: Tensor) -> None:
        """Values in steps, less their means, and the rows that are named for them."""
        q = rate.straight(v)
        spot = index * (2 * REACH + 1) + q.clamp(-REACH, REACH).long() + REACH
        self.y += np.bincount(spot.ravel().numpy(), minlength=self.y.size).reshape(self.y.shape)
        more = v.square() - (q - v).square()
        self.dropped += np.bincount(index.ravel().numpy(), more.ravel().numpy(), SCALES)

    def add_z(self, q: Tensor, level: int) -> None:
        """Whole numbers [...,Z,h,w]."""
        for channel, values in enumerate(q.clamp(-HYPER_REACH, HYPER_REACH).long().movedim(-3, 0).flatten(1).numpy()):
            self.z[level, channel] += np.bincount(values + HYPER_REACH, minlength=2 * HYPER_REACH + 1)


def levels_of(number: int, levels: int) -> Iterable[int]:
    """Those at which an example of this number is counted."""
    return (level for level in range(levels) if (level + number) % SPARSE == 0)


@torch.no_grad()
def counted(model: Model, examples: Sequence[Example]) -> Counts:
    """Quantise the examples, each at its level or at some of them all."""
    counts = Counts(len(model.rates.levels), len(model.centre))
    for number, example in enumerate(examples):
        for level in levels_of(number, counts.levels) if example.level is None else (example.level,):
            quality = model.rates.middle(level)
            q, entering = model.whole(example, level)
            mean, index = model.said(example, entering, quality)
            counts.add_z(q, level)
            counts.add_y((example.coded(example.y).double() - mean) / model.rates.step(quality), index)
    return counts


def tables(model: Model, examples: Sequence[Example], prefix: str) -> dict[str, Array]:
    """The arrays of a latent, counted on examples."""
    return arrays(model, counted(model, examples), prefix)


def arrays(model: Model, counts: Counts, prefix: str) -> dict[str, Array]:
    """What `LatentCoder.from_params` takes."""
    y_bits, y_frequencies = rows.rows(list(_y_chances(counts)), _dropped(counts))
    z_bits, z_frequencies = rows.rows(list(_z_chances(model, counts)))
    found = {
        "exponent": model.exponent.numpy().astype(np.int8),
        "offset": np.round(model.offset * OFFSET_UNITS).astype(np.int16),
        "levels": np.array(model.rates.levels, np.uint16),
        "z_step": model.z_step.numpy().astype(np.int32),
        "centre": model.centre.ravel().numpy().astype(np.int32),
        "y.bits": y_bits,
        "y.frequencies": y_frequencies,
        "z.bits": z_bits,
        "z.frequencies": z_frequencies,
    }
    named = {f"{prefix}.{name}": array for name, array in found.items()}
    return named | model.chain.arrays(f"{prefix}.decoder") | _read(model, prefix)


def _read(model: Model, prefix: str) -> dict[str, Array]:
    """What says means and scales."""
    if not model.latent.passes:
        return model.readers[0].head.arrays(f"{prefix}.head")
    found: dict[str, Array] = {f"{prefix}.passes": np.array([reader.of for reader in model.readers], np.uint16)}
    for number, reader in enumerate(model.readers):
        found |= reader.head.arrays(f"{prefix}.pass.{number}.head")
        if reader.context is not None:
            found |= reader.context.arrays(f"{prefix}.pass.{number}.context")
    return found


def scales() -> NDArray[np.float64]:
    """What the rows stand for, in steps."""
    return np.asarray(2.0 ** ((np.arange(SCALES) - UNIT_SCALE) / 8))


@torch.no_grad()
def learned_offsets(latent: Latent, rates: Rates) -> Array:
    """[level, row] in steps, as the latent's net says; zeros where training had none."""
    levels = range(len(rates.levels))
    if not latent.offset_on:
        return np.zeros((len(levels), SCALES))
    known = torch.from_numpy(scales()).float().clamp_min(rate.LEAST_SCALE)
    steps = torch.tensor([[rates.step(rates.middle(level))] for level in levels])
    return latent.offsets(known[None].expand(len(levels), -1), steps).double().numpy()


@torch.no_grad()
def hyper(latent: Latent, y: Tensor) -> Tensor:
    """Z [...,Z,h,w] of y [...,C,H,W]."""
    z: Tensor = latent.analysis(y / latent.spread[:, None, None])
    return z.float()


@torch.no_grad()
def estimated(latent: Latent, example: Example, step: float, context: Tensor | None = None) -> tuple[float, float]:
    """Bits of y and of z as training counts them, of the rounded values; `context` [N,K,H,W] as training has it."""
    y = example.y.reshape(-1, *example.y.shape[-3:])
    mask = torch.zeros(1, 1, *y.shape[2:])
    example.coded(mask)[:] = 1
    coded = latent(y, torch.full((len(y),), step), mask, context)
    return float(coded.bits.sum()), float(coded.side_bits.sum())


@torch.no_grad()
def integer_bits(model: Model, example: Example, quality: int) -> float:
    """The same bits of y where integers name the means and the scales: what rounding them costs, tables aside."""
    _, entering = model.whole(example, model.rates.level(quality))
    mean, index = model.said(example, entering, quality)
    v = rate.straight((example.coded(example.y).double() - mean) / model.rates.step(quality))
    width = torch.from_numpy(scales())[index].clamp_min(rate.LEAST_SCALE)
    return float(rate.normal_bits(v, width).sum())


def _tell_clipped(entering: Sequence[Tensor]) -> None:
    """Print a sentence if z reaches further than integers do: the decoder is then told less than in training."""
    reach = INPUT_LIMIT / INPUT_UNITS
    beyond = sum(int((z.abs() > reach).sum()) for z in entering)
    if beyond:
        largest, count = max(float(z.abs().max()) for z in entering), sum(z.numel() for z in entering)
        print(f"z is clipped at {reach:.1f}: {beyond} of {count} values lie beyond, up to {largest:.1f}", flush=True)


def _readers(latent: Latent, examples: Sequence[Example], known: Array) -> Iterator[Reader]:
    """Of a latent's passes, or its one head; `known` [D] are the units of what is hidden, and of context."""
    if not latent.passes:
        assert latent.decoder.head is not None
        yield _reader(Pass(0, len(latent.spread)), None, latent.decoder.head, latent.spread, known)
    for told in latent.passes:
        assert isinstance(told, Told)
        chain = Chain.of(told.context, [_seen(latent, each, told.of) for each in examples]) if told.context else None
        yield _reader(told.of, chain, told.head, latent.spread, known)


def _reader(of: Pass, context: Chain | None, head: nn.Conv2d, spread: Tensor, known: Array) -> Reader:
    """Scales are then in units of y: means stay in units of the spread."""
    head, channels = copy.deepcopy(head), of.end - of.first
    assert head.bias is not None
    head.bias.data[channels:] += torch.log2(spread[of.first : of.end])
    units = known if context is None else np.append(known, np.full(head.in_channels - len(known), context.units))
    return Reader(of, context, Chain.head(head, units, np.repeat([MEAN_UNITS, SCALE_UNITS], channels)))


def _seen(latent: Latent, example: Example, of: Pass) -> Tensor:
    """What is decoded before a pass, but for the rounding: [...,S,h,w] in spreads."""
    state = (example.coded(example.y) / latent.spread[:, None, None])[..., : of.seen, :, :]
    if of.parity == ODD:
        state[..., of.first :, :, :] *= 1 - cells(ODD, *state.shape[-2:])
    return state


@torch.no_grad()
def _z_steps(latent: Latent, rates: Rates) -> Tensor:
    """[levels], as training had them."""
    steps = torch.tensor([rates.step(rates.middle(level)) for level in range(len(rates.levels))])
    return (latent.hyper_step(steps) if latent.hyper_step_on else torch.ones_like(steps)).double()


def _y_chances(counts: Counts) -> Iterator[Array]:
    for count, scale in zip(counts.y, scales(), strict=True):
        yield rows.leaning((count + count[::-1]) / 2, rows.normal(scale, REACH), LEAN)


def _dropped(counts: Counts) -> Array:
    """[row]: the squared error, in steps, that a value gains on average if its row holds zeros only."""
    seen = counts.y.sum(1)
    return np.where(seen < RARE, np.inf, counts.dropped / np.maximum(seen, 1))


def _z_chances(model: Model, counts: Counts) -> Iterator[Array]:
    widths = torch.exp(model.latent.prior.spread.detach().double()).ravel() * INPUT_UNITS
    for step, channels in zip(model.z_step.tolist(), counts.z, strict=True):
        for width, count in zip((widths / step).tolist(), channels, strict=True):
            yield rows.leaning(count, rows.logistic(width, HYPER_REACH), HYPER_LEAN)
