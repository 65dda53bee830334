"""From a cut tensor to planes of real coefficients and back: cosine transform, channel bases, rotation. The reference.

    features [C, H, W] -> spectrum of the blocks -> channel bases -> rotation -> y [planes, blocks]

A channel basis vector at one frequency of the cosine transform is a *rank*: ranks are sorted by falling scale. The
first m of them, of all frequencies, are turned into m others by a dense matrix, which knows that frequencies are not
independent either; the ranks behind them stay as they are. The turned ones and the others, merged by falling scale, are
the *planes*: what is coded at some quality is a prefix of them.

Calibration chooses the bases (Karhunen-Loeve transforms in the metric of the detector's own outputs); here they are
only applied. `packed` does the same by basis.c. As floats do not have to agree from machine to machine (only integers
travel), the two may differ in the last bits.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.codec.blocks import BLOCKS, Features, Grid, content_blocks, from_spectrum, spectrum
from common.codec.window import Window

MOST_TURNED = 1024


def square(size: int = 0) -> Features:
    """No rotation."""
    return np.zeros((size, size), np.float32)


@dataclass(frozen=True)
class Basis:
    """The calibrated transform of one cut tensor [C, H, W]: P ranks in falling order of scale. All of it is finite.

    P may be less than C * block^2: the ranks that are missing are never coded. Raises ValueError.
    """

    block: int
    """4 or 8: the side of the cosine transform's blocks."""
    mean: Features
    """[C], taken off every feature first."""
    blank: NDArray[np.float16]
    """[C, H, W]: the features of a blank picture, for what lies outside the content."""
    frequency: NDArray[np.uint8]
    """[P], of block x block, row by row: vertical frequency * block + horizontal frequency."""
    forward: Features
    """[P, C]: a coefficient is its product with the spectrum of the channels at `frequency`."""
    inverse: Features
    """[P, C]: what one unit of the coefficient adds to that spectrum."""
    scale: NDArray[np.int16]
    """[P], not rising: log2 of the coefficient's standard deviation, times 64."""
    turn: Features = field(default_factory=square)
    """[m, m]: the turned coefficients are its product with those of the first m ranks."""
    unturn: Features = field(default_factory=square)
    """[m, m]: the way back."""
    turned: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    """[m], not rising: the scale of the turned coefficients."""

    def __post_init__(self) -> None:
        """ValueError if the parts do not fit each other."""
        if self.block not in BLOCKS:
            raise ValueError(f"block: expected one of {BLOCKS}, got {self.block}")
        if self.blank.ndim != 3 or not self.blank.size:
            raise ValueError(f"blank: expected [C, H, W], got {list(self.blank.shape)}")
        if self.turned.size > min(self.frequency.size, MOST_TURNED):
            most = min(self.frequency.size, MOST_TURNED)
            raise ValueError(f"turned: expected at most {most} planes, got {self.turned.size}")
        self._check_shapes()
        self._check_numbers()

    def _check_shapes(self) -> None:
        ranks, channels, turned = self.frequency.size, self.blank.shape[0], self.turned.size
        for name, shape in {
            "mean": (channels,),
            "frequency": (ranks,),
            "forward": (ranks, channels),
            "inverse": (ranks, channels),
            "scale": (ranks,),
            "turn": (turned, turned),
            "unturn": (turned, turned),
            "turned": (turned,),
        }.items():
            if (got := getattr(self, name).shape) != shape:
                raise ValueError(f"{name}: expected shape {list(shape)}, got {list(got)}")

    def _check_numbers(self) -> None:
        for name in ("mean", "blank", "forward", "inverse", "turn", "unturn"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name}: expected finite numbers")
        if self.frequency.max(initial=0) >= self.block**2:
            raise ValueError(f"frequency: expected 0..{self.block**2 - 1}, got {self.frequency.max()}")
        for name in ("scale", "turned"):
            if (np.diff(getattr(self, name).astype(np.int32)) > 0).any():
                raise ValueError(f"{name}: expected planes in falling order")

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W]."""
        channels, height, width = self.blank.shape
        return channels, height, width

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """[P] the planes as they are coded: below m, that turned one; else the rank. By scale, ties as numbered."""
        return np.argsort(-self._scales, kind="stable")

    @cached_property
    def scales(self) -> NDArray[np.int32]:
        """[P] of the planes in that order."""
        return self._scales[self.order]

    @property
    def _scales(self) -> NDArray[np.int32]:
        return np.concatenate([self.turned, self.scale[self.turned.size :]]).astype(np.int32)

    def count(self, quality: int, margin: int) -> int:
        """How many planes have a scale of at least the step less `margin` / 64 octaves; the others vanish."""
        return int(np.searchsorted(-self.scales, quality - 256 + margin, side="right"))

    def grid(self, window: Window | None) -> Grid:
        """Return the blocks that are coded if the picture lies in this window; all of them if there is none."""
        return content_blocks(window, *self.shape[1:], self.block)


def analyse(features: Features, basis: Basis, grid: Grid, count: int) -> Features:
    """[C, H, W] to the coefficients [count, blocks] of the first `count` planes."""
    return project(spectrum(features, basis.mean, grid), basis, count)


def project(by_frequency: Features, basis: Basis, count: int) -> Features:
    """The same from a spectrum [frequency, C, blocks]."""
    m, blocks = basis.turned.size, by_frequency.shape[2]
    by_rank = np.empty((len(basis.frequency), blocks), np.float32)
    for frequency in range(basis.block**2):
        of = np.flatnonzero(basis.frequency == frequency)
        by_rank[of] = basis.forward[of] @ by_frequency[frequency]
    y: Features = np.concatenate([basis.turn @ by_rank[:m], by_rank[m:]])[basis.order[:count]]
    return y


def synthesise(y: Features, basis: Basis, grid: Grid) -> Features:
    """[count, blocks] to [C, H, W]; a blank picture's features outside the blocks."""
    channels, m = basis.shape[0], basis.turned.size
    by_rank = np.zeros((len(basis.frequency), grid.blocks), np.float32)
    by_rank[basis.order[: len(y)]] = y
    by_rank[:m] = basis.unturn @ by_rank[:m]
    by_frequency = np.zeros((grid.block**2, channels, grid.blocks), np.float32)
    for frequency in range(grid.block**2):
        of = np.flatnonzero(basis.frequency == frequency)
        by_frequency[frequency] = basis.inverse[of].T @ by_rank[of]
    return from_spectrum(by_frequency, basis.mean, grid, basis.blank)
