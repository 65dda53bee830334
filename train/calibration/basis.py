"""From features and gradients to a basis: a Karhunen-Loeve transform in the detector's metric, in two stages.

With C the covariance of the spectrum of a block and M the metric (the second moment of its gradients), the basis of
least bits at a given error in the metric is W = U' R, where R'R = M and U diagonalises R C R'. Over all frequencies
and channels at once that is a matrix too large for an edge. So stage 1 takes each frequency for itself, and stage 2
turns its first planes, where nearly everything is, once more together: what frequencies have in common (an edge through
a block) is then coded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Spectrum = NDArray[np.float32]
"""[frequency, channel, block]."""

FLOOR = 1e-2
"""Every direction counts at least this share of the mean one: the metric is an estimate, and the network not linear."""
TOP = 16.0
"""The standard deviation of the first plane, in steps of quality 256: bases are scaled so that this holds."""
OCTAVE = 64
"""Scales are counted in so many parts of an octave."""
SHRINK = 0.02
"""Share of the off-diagonal of the joint covariance that is taken for chance."""


@dataclass(frozen=True)
class Stage:
    """Coefficients = forward @ x and x = inverse @ coefficients, with standard deviations [k], falling."""

    forward: Matrix
    inverse: Matrix
    sigma: NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """Both stages of one tensor, still in the metric's own unit."""

    frequency: NDArray[np.intp]
    first: Stage
    """`inverse` as rows, as the codec wants it."""
    second: Stage

    @property
    def largest(self) -> float:
        """The standard deviation of the first plane."""
        return float(max(self.first.sigma[0], self.second.sigma.max(initial=0)))

    def arrays(self, unit: float) -> dict[str, NDArray[Any]]:
        """`frequency`, `forward`, `inverse`, `scale`, `turn`, `unturn` and `turned`, coefficients in `unit`.

        All tensors of a cut take the same unit: a step then costs the outputs the same wherever it is lost.
        Raises ValueError if half floats cannot hold them.
        """
        return {
            "frequency": self.frequency.astype(np.uint8),
            "forward": _half("forward", self.first.forward / unit),
            "inverse": _half("inverse", self.first.inverse * unit),
            "scale": _scale(self.first.sigma / unit),
            "turn": _half("turn", self.second.forward),
            "unturn": _half("unturn", self.second.inverse),
            "turned": _scale(self.second.sigma / unit),
        }


def learn(spectra: list[Spectrum], slopes: list[Spectrum], turned: int, most: int) -> Basis:
    """From the spectra of the features less their mean and those of the gradients: `most` planes, `turned` of them."""
    stages = [_stage(_moment(spectra, f), _moment(slopes, f)) for f in range(len(spectra[0]))]
    frequency, rank = _sorted([s.sigma for s in stages], most)
    chosen = list(zip(frequency, rank, strict=True))
    first = Stage(
        np.stack([stages[f].forward[r] for f, r in chosen]),
        np.stack([stages[f].inverse[:, r] for f, r in chosen]),
        np.array([stages[f].sigma[r] for f, r in chosen]),
    )
    return Basis(frequency, first, _joint(first, frequency, spectra, slopes, min(turned, len(rank))))


def unit_of(bases: Sequence[Basis]) -> float:
    """The unit in which the first plane of all tensors has a standard deviation of `TOP`."""
    return max(basis.largest for basis in bases) / TOP


def _moment(spectra: list[Spectrum], frequency: int) -> Matrix:
    """The mean outer product over all blocks of one frequency, [C, C]."""
    total = sum((s[frequency] @ s[frequency].T).astype(np.float64) for s in spectra)
    return np.asarray(total) / sum(s.shape[2] for s in spectra)


def _stage(covariance: Matrix, metric: Matrix) -> Stage:
    """The transform of one frequency."""
    channels = len(metric)
    mean = float(np.trace(metric)) / channels
    if mean == 0:  # nothing is known: every direction counts alike
        metric, mean = np.eye(channels), 1.0
    return whitened(covariance, metric + np.eye(channels) * FLOOR * mean)


def whitened(covariance: Matrix, metric: Matrix) -> Stage:
    """The basis of least bits at a given error in the metric; both are [k, k] and symmetric."""
    values, vectors = np.linalg.eigh(metric)
    values = np.maximum(values, values.max(initial=0) * 1e-9)
    root, back = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    variance, basis = np.linalg.eigh(root @ covariance @ root)
    order = np.argsort(-variance, kind="stable")
    variance, basis = variance[order], basis[:, order]
    return Stage(basis.T @ root, back @ basis, np.sqrt(np.maximum(variance, 1e-12)))


def _sorted(sigmas: list[NDArray[np.float64]], most: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(frequency, rank within it) of the planes in falling order of their standard deviation."""
    everything = np.concatenate(sigmas)
    frequency = np.repeat(np.arange(len(sigmas)), [len(s) for s in sigmas])
    rank = np.concatenate([np.arange(len(s)) for s in sigmas])
    order = np.argsort(-everything, kind="stable")[:most]
    return frequency[order], rank[order]


def _joint(
    first: Stage, frequency: NDArray[np.intp], spectra: list[Spectrum], slopes: list[Spectrum], turned: int
) -> Stage:
    """The second stage, over the first `turned` planes. A gradient follows the inverse: dy = inverse' dx."""
    covariance = _planes_moment(first.forward[:turned], frequency[:turned], spectra)
    metric = _planes_moment(first.inverse[:turned], frequency[:turned], slopes)
    if not np.trace(metric):
        metric = np.eye(turned)
    covariance = (1 - SHRINK) * covariance + SHRINK * np.diag(np.diag(covariance))
    # Stage 1 made every plane count 1, less the floor it added: so it does here.
    return whitened(covariance, metric + np.eye(turned) * FLOOR)


def _planes_moment(rows: Matrix, frequency: NDArray[np.intp], spectra: list[Spectrum]) -> Matrix:
    """The mean outer product of planes [k, block] = rows . spectrum, over all blocks."""
    matrices = rows.astype(np.float32)
    total = np.zeros((len(rows), len(rows)))
    for spectrum in spectra:
        planes = np.empty((len(rows), spectrum.shape[2]), np.float32)
        for f in np.unique(frequency):
            of = frequency == f
            planes[of] = matrices[of] @ spectrum[f]
        total += planes @ planes.T
    return total / sum(s.shape[2] for s in spectra)


def _half(name: str, values: Matrix) -> NDArray[np.float16]:
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name}: the basis needs numbers beyond half floats; the features are too large or too small")
    return half


def _scale(sigma: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.round(OCTAVE * np.log2(sigma)), -2000, 2000).astype(np.int16)
