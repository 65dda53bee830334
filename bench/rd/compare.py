"""What follows from rows: each codec's curves, and the Bjontegaard deltas between them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.bd import Curve, bd_rate
from bench.rd.metrics import decibels
from bench.rd.published import Published
from bench.rd.rows import Row

Curves = dict[str, Curve]
Deltas = dict[str, dict[str, float]]

LOW_DB = 33.0
"""Below this PSNR, rates are so low that a codec for every rate may lose there what it gains elsewhere."""


def by_psnr(rows: Iterable[Row], published: Sequence[Published]) -> Curves:
    """Bits per pixel over PSNR, for each codec that has rows and each published curve."""
    points: Mapping[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        points[row.codec].append((row.bpp, row.psnr))
    for one in published:
        points[one.name].extend((bpp, psnr) for bpp, psnr, _ in one.points)
    return {name: Curve(found) for name, found in points.items()}


def by_ms_ssim(rows: Iterable[Row], published: Sequence[Published]) -> Curves:
    """Bits per pixel over MS-SSIM in dB, of the mean over the pictures."""
    points: Mapping[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.ms_ssim is not None:
            points[row.codec].append((row.bpp, decibels(row.ms_ssim)))
    for one in published:
        points[one.name].extend((bpp, decibels(similarity)) for bpp, _, similarity in one.points)
    return {name: Curve(found) for name, found in points.items()}


def deltas(curves: Curves, ceiling: float = math.inf) -> Deltas:
    """By codec and by what it is held against, percent of rate (-25: a quarter less); only pairs that can be."""
    every: Deltas = {}
    for name, curve in curves.items():
        found = {other: bd_rate(anchor, curve, ceiling) for other, anchor in curves.items() if other != name}
        every[name] = {other: round(delta.percent, 2) for other, delta in found.items() if delta}
    return every


def conclusions(rows: Sequence[Row], published: Sequence[Published]) -> dict[str, Any]:
    """All deltas, for --json."""
    psnr = by_psnr(rows, published)
    return {
        "bd_rate": deltas(psnr),
        f"bd_rate_below_{LOW_DB:.0f}_db": deltas(psnr, LOW_DB),
        "bd_rate_ms_ssim": deltas(by_ms_ssim(rows, published)),
    }
