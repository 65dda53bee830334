"""The rows and the standings for a person, on the console, and for a program, as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.accuracy.compare import TARGETS, Estimate, Standing
from bench.accuracy.rows import Measured
from bench.bd import Curve, Delta

OURS = "Midstream"
TITLES = {
    "lightweight": "papers' codec",
    "mosaic": "HEVC of features",
    "jpeg": "JPEG",
    "webp": "WebP",
    "x265": "x265",
    "av1": "AV1",
    "network": "network size",
    "original": "original size",
}

WIDTH = 132
"""Characters that the tables take; a narrower terminal breaks the lines."""


def titled(codec: str, ours: str) -> str:
    """A codec's name for people: "x265/network" is "x265, network size"; ours is the product's, and whose it is."""
    name = ", ".join(TITLES.get(part, part) for part in codec.split("/"))
    if codec != ours:
        return name
    return f"{OURS}, {name}" if codec in TITLES else OURS


def title(result: dict[str, Any]) -> str:
    """What was measured: the detector, its cut and the photos."""
    cut = ", ".join(f"{t['name']} {'×'.join(map(str, t['shape']))}" for t in result["cut"])
    return f"{result['detector']}, cut at {cut}; {result['images']} photos: {result['photos']}"


def number(value: float | None, digits: int = 3) -> str:
    """A share of 1 as .947; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def signed(e: Estimate) -> str:
    """A difference with its confidence."""
    value, low, high = ("" if x is None else f"{x:+.3f}".replace("0.", ".", 1) for x in e)
    return f"{value} [{low}, {high}]" if low and high else value


def size(e: Estimate | None, curve: Curve, target: float) -> str:
    """Bytes at a target with their confidence, or why there are none."""
    if e is None:
        if target > curve.qualities[-1]:
            return f"stops at {number(float(curve.qualities[-1]))}"
        return f"under {curve.rates[0]:,.0f}"
    return f"{e.value:,.0f}" + ("" if e.low is None or e.high is None else f" [{e.low:,.0f}–{e.high:,.0f}]")


def times(e: Estimate | None) -> str:
    """How many times our bytes, with the confidence."""
    if e is None:
        return ""
    return f"{e.value:.2f}" + ("" if e.low is None or e.high is None else f" [{e.low:.2f}–{e.high:.2f}]")


def percent(delta: Delta | None) -> str:
    """A delta of the rate with the range of agreement it is for."""
    return "" if delta is None else f"{delta.percent:+.0f} % ({number(delta.low, 2)}–{number(delta.high, 2)})"


def show(result: dict[str, Any], measured: Sequence[Measured], found: Sequence[Standing]) -> None:
    """Print the rows, then the standings."""
    console = Console(highlight=False)
    console = console if console.width >= WIDTH else Console(highlight=False, width=WIDTH)
    rows = columns("codec", "quality", "bytes", "p95", "bits", "AP", "AP50", "agree", "enc ms", "dec ms")
    rows.title = title(result)
    for i, m in enumerate(measured):
        if i and m.row.codec != measured[i - 1].row.codec:
            rows.add_section()
        rows.add_row(m.row.codec, *cells(m))
    console.print(rows)
    summary = columns("codec", "bytes at .90", "times ours", "bytes at .95", "times ours", "our rate beside it")
    for s in found:
        summary.add_row(s.codec, *figures(s))
    console.print(summary)
    if result["uncoded"]["ap50"] is not None:
        console.print(f"uncoded: AP {number(result['uncoded']['ap'])}, AP50 {number(result['uncoded']['ap50'])}")
    console.print(f"front half {result['front_ms']:.2f} ms, back half {result['back_ms']:.2f} ms")


def columns(*names: str) -> Table:
    """An empty table, figures to the right."""
    table = Table(box=SIMPLE, padding=(0, 1), title_justify="left")
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=i == 0)
    return table


def cells(m: Measured) -> list[str]:
    """A row's figures as text."""
    r = m.row
    bits = "" if r.bits_per_element is None else f"{r.bits_per_element:.3f}"
    decode = "" if r.decode_ms is None else f"{r.decode_ms:.2f}"
    sizes = [f"{r.bytes_mean:,.0f}", f"{r.bytes_p95:,.0f}", bits]
    return [str(r.quality), *sizes, *map(number, (r.ap, r.ap50, r.agreement_ap50)), f"{r.encode_ms:.2f}", decode]


def figures(s: Standing) -> list[str]:
    """A standing's figures as text."""
    texts = []
    for target in TARGETS:
        texts += [size(s.bytes_at[target], s.curve, target), times(s.times_ours[target])]
    return [*texts, percent(s.delta)]


def as_json(s: Standing) -> dict[str, Any]:
    """A standing as data."""
    return {
        "codec": s.codec,
        "bytes_at": {str(t): e and e._asdict() for t, e in s.bytes_at.items()},
        "times_ours": {str(t): e and e._asdict() for t, e in s.times_ours.items()},
        "ours_bd_rate": s.delta and s.delta._asdict(),
    }


def deltas_as_json(deltas: dict[str, dict[str, Delta | None]]) -> dict[str, Any]:
    """Anchor -> codec -> delta, as data."""
    return {a: {b: d and d._asdict() for b, d in row.items()} for a, row in deltas.items()}
