"""A latent that is coded after another of its camera: the very numbers it has alone, told from what was there before.

    z, y^ of the frame before ──► what z and y will be, and how surely (latent_temporal) ──► values, one lane

No difference is coded, so nothing adds up from frame to frame: z and y are whole numbers of steps as if the frame stood
alone, and the frame before only says which to expect. What was coded after another can therefore be written as if it
had been coded alone, to the last bit (`Numbers.alone`): that is what layers are coded upon, and what is kept.

An encoder takes, of the numbers that are near, what costs least: often just what was expected.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import rans
from common.codec.container import check
from common.codec.elements import Cells, Features, Fixed, Parameters
from common.codec.latent import CHUNK, HEADER, LatentCoder
from common.codec.latent_model import Point
from common.codec.latent_temporal import REACH, Before, Group, Hyper, Levels, Tables, Walk, told
from common.codec.values import MOST, Index, Values

BIT = 0.05
"""Squared steps that a bit is worth to an encoder."""
NEAR = 0.6
"""Steps from where it was expected within which a number of z is taken for that: all of y's means depend on it."""
FINE = 256
"""The step of y is in 1/65536, its values in 1/256."""
LANES = 1


class Numbers(NamedTuple):
    """A latent in whole steps, and what they stand for: the same whether it is coded alone or after another."""

    quality: int
    z: Values
    """[Z, its cells]."""
    q: Values
    """[C, cells], of y."""
    known: Parameters
    """Of y."""
    fixed: Fixed
    """[C, cells], in 1/256."""

    @classmethod
    def of(cls, coder: LatentCoder, quality: int, z: Values, q: Values, known: Parameters) -> "Numbers":
        """With what they stand for."""
        value = Parameters(known.mean.copy(), known.index)
        coder.dequantise(q.ravel(), value, coder.point(quality), slice(None))
        return cls(quality, z, q, known, value.mean)

    def alone(self, coder: LatentCoder) -> bytes:
        """The payload of which `LatentCoder.decode` makes just this latent."""
        return coder.written(self.quality, self.z, self.q, self.known.index)

    def levels(self, coder: LatentCoder) -> Levels:
        """What it leaves for others."""
        entered = coder.hyper_of(self.z, coder.point(self.quality))
        return np.concatenate([entered.ravel(), self.fixed.ravel()])


class Opened(NamedTuple):
    """A latent whose z is quantised, which says what y is known by."""

    y: Features
    quality: int
    cells: Cells
    point: Point
    z: Values
    known: Parameters


def opened(
    coder: LatentCoder, y: Features, z: Features, quality: int, cells: Cells, before: Before | None = None
) -> Opened:
    """Of y [C, H, W] and z, as `LatentCoder.encode` takes them; to be coded alone, or after what was `before`."""
    point, part = coder.point(quality), cells.halved(coder.halvings).within(z)
    steps = coder.quantise_hyper(part, point).reshape(coder.hyper, -1)
    if before is not None:
        first = Hyper.of(coder, before, point)
        exact = (64 * part.reshape(steps.shape) - coder.model.centre[:, None]) / point.z_step
        steps = np.where(first.alive & (np.abs(exact - first.whole) < NEAR), first.whole, steps)
    return Opened(y, quality, cells, point, steps, coder.known(steps, (y.shape[1], y.shape[2]), cells, point))


def quantised(coder: LatentCoder, latent: Opened) -> Numbers:
    """As `LatentCoder.encode` codes it alone."""
    return Numbers.of(
        coder,
        latent.quality,
        latent.z,
        coder.quantise(latent.y, latent.cells, latent.known, latent.point),
        latent.known,
    )


def encode(coder: LatentCoder, tables: Tables, latent: Opened, before: Before) -> tuple[bytes, Numbers] | None:
    """The stream of a latent that was `opened` so, and the numbers it codes.

    None where one is too far from where it is expected to be coded after another.
    """
    first = Hyper.of(coder, before, latent.point)
    changes, rows = [first.sign * (latent.z - first.whole)[first.alive]], [first.rows]
    mean = latent.known.mean.astype(np.float32) / np.float32(FINE)
    wanted = (latent.cells.within(latent.y).reshape(mean.shape) - mean) * np.float32(FINE * FINE / latent.point.step)
    q = np.zeros(mean.shape, np.int32)
    walk = _walk(coder, tables, latent.known, before, latent.point, first.moved(latent.z, latent.cells, coder.halvings))
    for group in walk:
        part = q[group.channels]
        part[group.alive] = taken = chosen(np.nan_to_num(wanted[group.channels][group.alive]), group, tables)
        changes.append(group.sign * taken - group.whole)
        rows.append(group.rows)
        walk.code(group, part)
    values = np.concatenate(changes)
    if np.abs(values).max(initial=0) > MOST:
        return None
    lengths = np.array([[len(part) for part in changes]], np.uint32)
    (data,) = coder.arithmetic.encode_each(tables.rows, values, np.concatenate(rows), lengths)
    return data, Numbers.of(coder, latent.quality, latent.z, q, latent.known)


def chosen(wanted: NDArray[np.float32], group: Group, tables: Tables) -> Values:
    """Of elements [n], in steps from their means, the numbers to code: the nearest or others, if those cost less."""
    v = wanted * group.sign
    nearest = (np.sign(v) * np.floor(np.minimum(np.abs(v) + np.float32(0.5), MOST))).astype(np.int32)
    options = np.stack([nearest, nearest + np.sign(group.whole - nearest), group.whole])
    bits = tables.costs[group.rows, (options - group.whole).clip(-REACH, REACH) + REACH]
    best = (np.square(options - v) + np.float32(BIT) * bits).argmin(0)
    found: Values = group.sign * options[best, np.arange(len(v))]
    return found


def decode(
    coder: LatentCoder,
    tables: Tables,
    data: bytes,
    quality: int,
    grid: tuple[int, int],
    cells: Cells,
    before: Before,
) -> Numbers:
    """The numbers, on a grid [H, W] of which these cells are coded. BitstreamError unless `encode` writes this."""
    rans.check_opening(data, LANES)
    point, stream = coder.point(quality), coder.arithmetic.each_decoder([data], tables.rows)

    def take(rows: Index) -> Values:
        return stream.take(rows, np.array([len(rows)], np.uint32))

    first = Hyper.of(coder, before, point)
    z = np.zeros(first.whole.shape, np.int32)
    z[first.alive] = first.whole[first.alive] + first.sign * take(first.rows)
    known = coder.known(z, grid, cells, point)
    q = np.zeros(known.mean.shape, np.int32)
    walk = _walk(coder, tables, known, before, point, first.moved(z, cells, coder.halvings))
    for group in walk:
        part = q[group.channels]
        part[group.alive] = group.sign * (group.whole + take(group.rows))
        walk.code(group, part)
    largest = max(np.abs(z).max(initial=0), np.abs(q).max(initial=0))
    check(bool(stream.sound()[0]) and largest <= MOST, "latent", "the bytes that encode one after this", "others")
    return Numbers.of(coder, quality, z, q, known)


def decode_alone(coder: LatentCoder, payload: bytes, quality: int, grid: tuple[int, int], cells: Cells) -> Numbers:
    """The numbers of a payload of this quality that is coded alone, as `LatentCoder.decode`. Raises BitstreamError."""
    stream, point = coder.arithmetic.decoder(payload[HEADER.size :], coder.model.rows), coder.point(quality)
    rows, columns = cells.halved(coder.halvings).shape
    z = stream.take(np.repeat(coder.hyper_rows(point), rows * columns)).reshape(coder.hyper, -1)
    known = coder.known(z, grid, cells, point)
    parts = [stream.take(known.index.reshape(-1)[at : at + CHUNK]) for at in range(0, known.index.size, CHUNK)]
    stream.end()
    return Numbers.of(coder, quality, z, np.concatenate(parts).reshape(known.index.shape), known)


def expectations(
    coder: LatentCoder, tables: Tables, numbers: Numbers, before: Before, cells: Cells
) -> tuple[Hyper, Walk]:
    """What was expected of numbers that are known: for who counts what came instead."""
    point = coder.point(numbers.quality)
    first = Hyper.of(coder, before, point)
    moved = first.moved(numbers.z, cells, coder.halvings)
    return first, _walk(coder, tables, numbers.known, before, point, moved)


def _walk(coder: LatentCoder, tables: Tables, known: Parameters, before: Before, point: Point, moved: Values) -> Walk:
    silent = coder.model.rows.silent[known.index]
    return Walk(tables, told(before.fixed, known.mean, point.step, FINE), known.index, silent, moved)
