"""What the rows say: bytes at an agreement, one codec against another, and how sure one can be with so few photos.

Confidence is the bootstrap over photos: photos are drawn with replacement, and every figure is computed again from
the same draw for all codecs, so that a difference between two codecs is not blurred by which photos were drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.rows import Measured
from bench.bd import Curve, Delta, bd_rate

TARGETS = (0.90, 0.95)
"""Agreements at which codecs are compared."""
DRAWS = 200
LEAST_DRAWS = 0.9
"""Share of the draws whose curve must reach a target, for there to be a confidence."""


class Estimate(NamedTuple):
    """A figure and where it lies with 95 % confidence; no bounds where too few draws had the figure at all."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Standing:
    """One codec as a whole, and beside ours."""

    codec: str
    curve: Curve
    bytes_at: dict[float, Estimate | None]
    """Target -> mean bytes a photo there; None outside of what was measured."""
    times_ours: dict[float, Estimate | None]
    """Target -> its bytes as a multiple of ours."""
    delta: Delta | None
    """From its rate to ours."""


class Draws:
    """Every row under every draw: agreements and mean bytes, [rows, draws]."""

    def __init__(self, measured: Sequence[Measured], draws: int = DRAWS, seed: int = 0) -> None:
        """Take rows of one scene, at least one."""
        self.measured = list(measured)
        photos = len(measured[0].sizes)
        rng = np.random.default_rng(seed)
        self.copies = rng.multinomial(photos, np.full(photos, 1 / photos), draws)
        self.agreement = np.array([m.agreed.average_precision(self.copies) for m in measured])
        self.bytes = np.array([self.copies @ m.sizes / photos for m in measured])

    def bytes_at(self, codec: str, target: float) -> NDArray[np.float64]:
        """[draws] bytes of a codec at a target; nan where its curve does not reach it."""
        rows = [i for i, m in enumerate(self.measured) if m.row.codec == codec]
        found = [
            Curve(zip(self.bytes[rows, d], self.agreement[rows, d], strict=True)).rate_at(target)
            for d in range(len(self.copies))
        ]
        return np.array([np.nan if value is None else value for value in found])

    def difference(self, a: Measured, b: Measured, marks: bool = False) -> Estimate:
        """Agreement (or AP50 against marks) of row a less that of row b."""
        one, other = (m.right if marks else m.agreed for m in (a, b))
        assert one is not None
        assert other is not None
        drawn = one.average_precision(self.copies) - other.average_precision(self.copies)
        return estimate(float((one.average_precision() - other.average_precision())[0]), drawn)


def estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    """The middle 95 % of the draws around a value."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < LEAST_DRAWS * len(drawn):
        return Estimate(value, None, None)
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def curve_of(measured: Sequence[Measured], codec: str) -> Curve:
    """Bytes over agreement of one codec's rows."""
    return Curve((m.row.bytes_mean, m.row.agreement_ap50) for m in measured if m.row.codec == codec)


def standings(measured: Sequence[Measured], draws: Draws) -> list[Standing]:
    """Each codec in the order of its rows; the first is ours."""
    names = list(dict.fromkeys(m.row.codec for m in measured))
    curves = {name: curve_of(measured, name) for name in names}
    drawn = {(name, target): draws.bytes_at(name, target) for name in names for target in TARGETS}
    found = []
    for name in names:
        bytes_at, times = {}, {}
        for target in TARGETS:
            here, ours = curves[name].rate_at(target), curves[names[0]].rate_at(target)
            spread = drawn[name, target]
            bytes_at[target] = here and estimate(here, spread)
            times[target] = here and ours and estimate(here / ours, spread / drawn[names[0], target])
        delta = None if name == names[0] else bd_rate(curves[name], curves[names[0]])
        found.append(Standing(name, curves[name], bytes_at, times, delta))
    return found


def nearest(measured: Sequence[Measured], codec: str, target: float) -> Measured:
    """The row of a codec whose agreement is nearest to a target."""
    own = [m for m in measured if m.row.codec == codec]
    return min(own, key=lambda m: abs(m.row.agreement_ap50 - target))


def deltas(measured: Sequence[Measured]) -> dict[str, dict[str, Delta | None]]:
    """Anchor -> codec -> how much rate the codec needs beside the anchor."""
    names = list(dict.fromkeys(m.row.codec for m in measured))
    curves = {name: curve_of(measured, name) for name in names}
    return {a: {b: bd_rate(curves[a], curves[b]) for b in names if b != a} for a in names}
