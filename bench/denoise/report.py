"""The rows, the deltas and the noise that comes back, for a person: tables on the console and in Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console

from bench.denoise.cascades import BEFORE, BEHIND
from bench.denoise.compare import BEST, Deltas
from bench.denoise.evidence import Evidence
from bench.denoise.rows import Alone, Row
from bench.noise import Noise
from bench.rd.metrics import decibels
from bench.rd.report import columns
from bench.rd.report import titled as codec_titled

DENOISERS = {
    "none": "the noisy pictures themselves",
    "opponent": "DnCNN on light and colour differences",
    "rgb": "DnCNN on red, green, blue",
    "luma": "DnCNN on light alone",
    "means": "non-local means (OpenCV)",
}


class Shown(NamedTuple):
    """A table."""

    title: str
    heads: Sequence[str]
    lines: list[list[str]]


def titled(codec: str) -> str:
    """A codec's name for people."""
    if codec == BEST:
        return "the best of all cascades"
    if codec.startswith(BEFORE):
        return f"DnCNN, then {codec_titled(codec.removeprefix(BEFORE))}"
    if codec.endswith(BEHIND):
        return f"{codec_titled(codec.removesuffix(BEHIND))}, then DnCNN"
    return codec


def tables(
    rows: Sequence[Row], deltas: Sequence[Deltas], alone: Sequence[Alone], evidence: Sequence[Evidence]
) -> list[Shown]:
    """All of them, the conclusions first; without those that have no lines."""
    every = [deltas_table(deltas), alone_table(alone), evidence_table(evidence), rows_table(rows)]
    return [table for table in every if table.lines]


def deltas_table(deltas: Sequence[Deltas]) -> Shown:
    """Rate of the joint codec beside each cascade."""
    heads = ("pictures", "noise", "beside", "at equal PSNR", "from, dB", "to, dB", "at equal MS-SSIM")
    lines = [
        [d.pictures, _noise(d), titled(d.cascade), _percent(d.psnr), _db(d.low), _db(d.high), _percent(d.ms_ssim)]
        for d in deltas
    ]
    return Shown("Rate of the joint codec beside each cascade", heads, lines)


def alone_table(alone: Sequence[Alone]) -> Shown:
    """Denoisers with nothing coded."""
    heads = ("pictures", "noise", "denoiser", "PSNR dB", "MS-SSIM dB")
    lines = [
        [a.pictures, _noise(a), DENOISERS.get(a.denoiser, a.denoiser), f"{a.psnr:.2f}", _similar(a.ms_ssim)]
        for a in alone
    ]
    return Shown("Denoisers, nothing coded", heads, lines)


def evidence_table(evidence: Sequence[Evidence]) -> Shown:
    """The noisy layer."""
    heads = (
        "pictures", "noise", "quality", "bpp, clean", "bpp, both", "PSNR to the noisy, dB", "its noise's deviation",
        "error of it", "correlation",
    )  # fmt: skip
    lines = [
        [e.pictures, _noise(e), str(e.quality), f"{e.clean_bpp:.3f}", f"{e.bpp:.3f}", f"{e.psnr:.2f}",
         f"{e.noise:.2f}", f"{e.sigma_error:.1f} %", f"{e.correlation:.3f}"]
        for e in evidence
    ]  # fmt: skip
    return Shown("The noisy picture, above the clean one", heads, lines)


def rows_table(rows: Sequence[Row]) -> Shown:
    """Everything that was measured of clean pictures."""
    heads = ("pictures", "noise", "codec", "quality", "bpp", "PSNR dB", "MS-SSIM dB")
    lines = [
        [r.pictures, _noise(r), titled(r.codec), str(r.quality), f"{r.bpp:.3f}", f"{r.psnr:.2f}", _similar(r.ms_ssim)]
        for r in rows
    ]
    return Shown("Clean pictures out of noisy ones", heads, lines)


def show(shown: Sequence[Shown], console: Console) -> None:
    """Print them."""
    for one in shown:
        drawn = columns(one.heads, one.title)
        for line in one.lines:
            drawn.add_row(*line)
        console.print(drawn)


def _noise(of: Deltas | Alone | Evidence | Row) -> str:
    return Noise(of.sigma, of.gain).title


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _similar(value: float | None) -> str:
    return "" if value is None else f"{decibels(value):.2f}"
