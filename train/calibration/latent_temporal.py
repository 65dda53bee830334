"""From videos to the tables of latents that are coded after others (common/codec/latent_temporal.npz).

Coded, counted and coded again: what an encoder takes depends on what it costs, and references on what was taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.codec import latent_after, rans
from common.codec.elements import Cells
from common.codec.latent import LatentCoder
from common.codec.latent_after import Numbers
from common.codec.latent_model import ONE_STEP
from common.codec.latent_temporal import (
    BINS,
    ELEMENT_ROWS,
    HYPER_ROWS,
    NARROWEST,
    PARTS,
    PLACES,
    ROWS_A_WIDTH,
    UNIT,
    WIDTHS,
    Before,
    Tables,
)
from common.codec.values import SYMBOLS, Rows
from train import rows

ROUNDS = 3
REACH = 255
"""Larger changes count as of this size."""
LEAN = 8.0
"""Changes for which a row's prior stands: the same row whatever the trust."""
LEAST = 12.0
"""The same of that row: its prior is a bell of the width that its elements have alone."""
MOST_BITS = 10

Array = NDArray[Any]


class Clip(NamedTuple):
    """A video's latents, at one quality."""

    coder: LatentCoder
    cells: Cells
    y: Sequence[NDArray[np.float32]]
    z: Sequence[NDArray[np.float32]]
    quality: int
    lag: int
    """Each frame is coded after the one so many before it."""


@dataclass
class Counts:
    """How often changes came in each row, and how far off elements of each place were."""

    seen: Array = field(default_factory=lambda: np.zeros((HYPER_ROWS + ELEMENT_ROWS, 2 * REACH + 1)))
    errors: Array = field(default_factory=lambda: np.zeros((PLACES, 2)))
    """How many, and all of it in parts."""

    def add(self, row: Array, change: Array) -> None:
        """Changes [n] of these rows."""
        np.add.at(self.seen, (row, change.clip(-REACH, REACH) + REACH), 1)

    def off(self, place: Array, parts: Array) -> None:
        """Elements [n] that are so many parts off."""
        self.errors[:, 0] += np.bincount(place, minlength=PLACES)
        self.errors[:, 1] += np.bincount(place, parts, PLACES)

    def tables(self) -> Tables:
        """What an encoder of these changes would wish for."""
        every = self.seen[HYPER_ROWS:].reshape(-1, PLACES, 2 * REACH + 1).sum(0)
        own = [rows.leaning(count, bell, LEAST) for count, bell in zip(every, bells(), strict=True)]
        priors = [np.ones(2 * REACH + 1) / 2 ** abs(np.arange(-REACH, REACH + 1.0))] * HYPER_ROWS
        priors += own * (ELEMENT_ROWS // PLACES)
        found = [row(rows.leaning(count, prior, LEAN)) for count, prior in zip(self.seen, priors, strict=True)]
        bits, frequencies = np.array([bits for bits, _ in found], np.uint8), np.stack([row for _, row in found])
        count, parts = self.errors.T
        return Tables(Rows(bits, frequencies), expected((parts + PARTS) / (count + 1)))


def bells() -> Iterator[Array]:
    """Of each place: what comes alone of elements of this width."""
    for width in range(WIDTHS):
        scale = 2 ** ((NARROWEST + ROWS_A_WIDTH * (width + 0.5) - ONE_STEP) / 8)
        yield from [rows.normal(scale, REACH)] * BINS


def expected(parts: Array) -> NDArray[np.uint16]:
    """Errors [PLACES] as tables have them."""
    return np.asarray(np.round(parts * UNIT).clip(1, 65535), np.uint16)


def row(chances: Array) -> tuple[int, NDArray[np.uint16]]:
    """The cheapest low bits and frequencies; unlike those of `rows.row`, more is not as likely as less."""
    best, least = (0, np.zeros(SYMBOLS, np.uint16)), np.inf
    for bits in range(MOST_BITS + 1):
        frequencies = rows.frequencies(np.bincount(rows.symbols(REACH, bits)[0], chances, SYMBOLS))
        if (cost := rows.cost(chances, bits, frequencies)) >= least:
            break
        best, least = (bits, frequencies), cost
    return best


def opening() -> Tables:
    """Tables before anything is known."""
    frequencies = np.full((HYPER_ROWS + ELEMENT_ROWS, SYMBOLS), rans.TOTAL // SYMBOLS, np.uint16)
    return Tables(Rows(np.zeros(len(frequencies), np.uint8), frequencies), expected(np.full(PLACES, PARTS / 2)))


def learn(clips: Sequence[Clip]) -> dict[str, Array]:
    """The arrays of `Tables`."""
    tables = opening()
    for number in range(ROUNDS):
        tables = count(clips, tables, first=number == 0).tables()
    return {"bits": tables.rows.bits, "frequencies": tables.rows.tables.frequencies, "expected": tables.expected}


def count(clips: Sequence[Clip], tables: Tables, first: bool) -> Counts:
    """Code all clips with these tables; in the `first` round each frame as if alone, as costs are not known."""
    counts = Counts()
    for clip in clips:
        held: list[Numbers] = []
        for y, z in zip(clip.y, clip.z, strict=True):
            if len(held) < clip.lag:
                held.append(alone(clip, y, z))
                continue
            before = Before.of(held[-clip.lag].levels(clip.coder), clip.coder, clip.cells)
            held.append(alone(clip, y, z) if first else after(clip, tables, y, z, before))
            observe(clip, tables, held[-1], before, counts)
    return counts


def alone(clip: Clip, y: Array, z: Array) -> Numbers:
    """A frame that is coded alone."""
    return latent_after.quantised(clip.coder, latent_after.opened(clip.coder, y, z, clip.quality, clip.cells))


def after(clip: Clip, tables: Tables, y: Array, z: Array, before: Before) -> Numbers:
    """A frame that is coded after another, if that can be."""
    latent = latent_after.opened(clip.coder, y, z, clip.quality, clip.cells, before)
    coded = latent_after.encode(clip.coder, tables, latent, before)
    return alone(clip, y, z) if coded is None else coded[1]


def observe(clip: Clip, tables: Tables, numbers: Numbers, before: Before, counts: Counts) -> None:
    """Walk through a coded frame once more and count what is met."""
    first, walk = latent_after.expectations(clip.coder, tables, numbers, before, clip.cells)
    counts.add(first.rows, first.sign * (numbers.z - first.whole)[first.alive])
    for group in walk:
        part = numbers.q[group.channels]
        counts.add(group.rows, group.sign * part[group.alive] - group.whole)
        counts.off(walk.places[group.channels][group.alive], walk.errors(group.channels, part)[group.alive])
        walk.code(group, part)
