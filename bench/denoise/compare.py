"""What follows from rows: curves, the best cascade, and the Bjontegaard deltas of the joint codec to each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bench.bd import Curve, bd_rate
from bench.denoise.rows import Row
from bench.noise import Noise
from bench.rd.metrics import decibels

Where = tuple[str, Noise]

BEST = "best"
"""Of all cascades' rows those that no cheaper one beats, as if one chose anew at every rate."""


class Deltas(NamedTuple):
    """Of the joint codec to one cascade, percent of rate; None where their curves share no range."""

    pictures: str
    sigma: float
    gain: float
    cascade: str
    psnr: float | None
    """At equal PSNR."""
    low: float | None
    high: float | None
    """The range of it that says so, dB."""
    ms_ssim: float | None
    """At equal MS-SSIM."""


def sorted_by_place(rows: Iterable[Row]) -> dict[Where, list[Row]]:
    """The rows of each set of pictures and noise."""
    found: dict[Where, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.where].append(row)
    return dict(found)


def curves(rows: Sequence[Row], ours: str) -> dict[str, Curve]:
    """Bits over PSNR for each codec, and for the cascades together as `BEST`."""
    return _curves([(row.codec, row.bpp, row.psnr) for row in rows], ours)


def similarities(rows: Sequence[Row], ours: str) -> dict[str, Curve]:
    """The same over MS-SSIM in dB; nothing for pictures too small for it."""
    return _curves([(row.codec, row.bpp, decibels(row.ms_ssim)) for row in rows if row.ms_ssim is not None], ours)


def _curves(points: Sequence[tuple[str, float, float]], ours: str) -> dict[str, Curve]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for codec, bpp, quality in points:
        found[codec].append((bpp, quality))
        if codec != ours:
            found[BEST].append((bpp, quality))
    return {name: Curve(some) for name, some in found.items()}


def deltas(rows: Sequence[Row], ours: str) -> list[Deltas]:
    """Of our codec to every cascade and to the best, for each set of pictures and noise; nothing without ours."""
    found = []
    for (pictures, noise), some in sorted_by_place(rows).items():
        by_psnr, by_similarity = curves(some, ours), similarities(some, ours)
        for name in by_psnr.keys() - {ours} if ours in by_psnr else ():
            delta = bd_rate(by_psnr[name], by_psnr[ours])
            similar = bd_rate(by_similarity[name], by_similarity[ours]) if name in by_similarity else None
            numbers = (round(delta.percent, 2), round(delta.low, 2), round(delta.high, 2)) if delta else (None,) * 3
            found.append(Deltas(pictures, *noise, name, *numbers, round(similar.percent, 2) if similar else None))
    return sorted(found, key=lambda d: (d.pictures, d.gain, d.sigma, d.cascade != BEST, d.cascade))


def strongest(rows: Sequence[Row], ours: str, bpp: float) -> str | None:
    """The cascade with the best PSNR of the rows that take about so many bits or fewer; None if there is none."""
    some = [row for row in rows if row.codec != ours and row.bpp <= bpp]
    return max(some, key=lambda row: row.psnr).codec if some else None


def conclusions(rows: Sequence[Row], ours: str) -> dict[str, Any]:
    """For --json."""
    return {"bd_rate": [delta._asdict() for delta in deltas(rows, ours)]}
