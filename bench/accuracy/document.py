"""A bundle's section in docs/results.md, between two markers, and its plot beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import plots
from bench.accuracy.compare import TARGETS, Draws, Standing, nearest
from bench.accuracy.report import OURS, cells, figures, number, signed, title, titled
from bench.accuracy.rows import Measured
from bench.pages import put, slug, table

PAGE = "results.md"


def write(
    folder: Path,
    result: dict[str, Any],
    measured: Sequence[Measured],
    found: Sequence[Standing],
    draws: Draws,
    command: str,
) -> None:
    """Write or replace the section of this bundle and these photos, and draw its plot."""
    key = result["bundle"] if result["uncoded"]["ap"] is not None else f"{result['bundle']}-{slug(result['photos'])}"
    picture = f"results-{key}.png"
    plots.accuracy(measured, folder / picture, title(result))
    page = folder / PAGE
    put(page, key, section(result, measured, found, draws, picture, command))


def section(
    result: dict[str, Any],
    measured: Sequence[Measured],
    found: Sequence[Standing],
    draws: Draws,
    picture: str,
    command: str,
) -> str:
    """Markdown."""
    ours = found[0].codec
    uncoded = result["uncoded"]
    accuracy = "" if uncoded["ap"] is None else f" AP {number(uncoded['ap'])}, AP50 {number(uncoded['ap50'])} uncoded."
    head = [
        f"## {title(result)}",
        f"`{command}`: bundle {result['bundle']} {result['version']}, {result['digest'][:12]}. The edge runs "
        f"{result['edge_share']:.0%} of the multiply-adds in {result['front_ms']:.1f} ms, the cloud the rest in "
        f"{result['back_ms']:.1f} ms. {result['sure']:,} sure detections to agree with.{accuracy}",
        f"![Bytes a photo over agreement]({picture})",
        " ".join(verdict(found, target) for target in TARGETS),
        *contests(measured, found, draws),
    ]
    summary = table(
        ["codec", "bytes at .90", "times ours", "bytes at .95", "times ours", "our rate beside it"],
        [[titled(s.codec, ours), *figures(s)] for s in found],
    )
    rows = {(m.row.codec, m.row.quality): m for s in found for t in TARGETS for m in [nearest(measured, s.codec, t)]}
    detail = table(
        ["codec", "quality", "bytes", "p95", "bits", "AP", "AP50", "agreement", "encode ms", "decode ms"],
        [[titled(m.row.codec, ours), *cells(m)] for m in rows.values()],
    )
    return "\n\n".join([*head, summary, "The rows nearest to .90 and .95:", detail]) + "\n"


def verdict(found: Sequence[Standing], target: float) -> str:
    """Who needs the fewest bytes at a target, whoever it is."""
    at, ours = number(target, 2), found[0]
    known = [(e.value, s) for s in found if (e := s.bytes_at[target]) is not None]
    below = [s for s in found if s.bytes_at[target] is None and s.curve.qualities[0] > target]
    if not known:
        return f"At an agreement of {at} nothing was measured."
    best_bytes, best = min(known, key=lambda pair: pair[0])
    name = titled(best.codec, ours.codec)
    if best is ours:
        rest = [pair for pair in known if pair[1] is not ours]
        text = f"At an agreement of {at} {OURS} needs the fewest bytes, {best_bytes:,.0f}"
        if rest:
            next_bytes, rival = min(rest, key=lambda pair: pair[0])
            text += f": {best_bytes / next_bytes:.2f} of the best rival's, {titled(rival.codec, ours.codec)}"
    elif (e := ours.bytes_at[target]) is not None:
        text = f"**At an agreement of {at} {name} wins**: {best_bytes:,.0f} bytes, ours {e.value:,.0f}"
    else:
        text = f"**At an agreement of {at} {name} wins**: {best_bytes:,.0f} bytes; our codec was not measured there"
    if below:
        names = ", ".join(titled(s.codec, ours.codec) for s in below)
        text += f" (lowest measured point already above {at}: {names})"
    return text + "."


def contests(measured: Sequence[Measured], found: Sequence[Standing], draws: Draws) -> list[str]:
    """Our row nearest each target against that of the best rival, paired photo by photo."""
    lines = []
    for target in TARGETS:
        rivals = [(e.value, s.codec) for s in found[1:] if (e := s.bytes_at[target]) is not None]
        if not rivals:
            continue
        a, b = (nearest(measured, codec, target) for codec in (found[0].codec, min(rivals)[1]))
        text = (
            f"* Near {number(target, 2)}: {OURS} ({a.row.bytes_mean:,.0f} bytes) minus "
            f"{titled(b.row.codec, found[0].codec)} ({b.row.bytes_mean:,.0f}), photo by photo: "
            f"agreement {signed(draws.difference(a, b))}"
        )
        if a.right is not None:
            text += f", AP50 {signed(draws.difference(a, b, marks=True))}"
        lines.append(text + ".")
    return ["\n".join(lines)] if lines else []
