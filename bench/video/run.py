"""The bench from a bundle and clips to tables, JSON, a plot and a section of docs/results-video.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.networks import Split, shipped
from bench.pages import place as place_of
from bench.rd.report import columns
from bench.video import document, plot, report
from bench.video.clips import Clip, found
from bench.video.rows import Row, measured
from bench.video.ways import Way, ways
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles
from common.errors import MidstreamError


def run(
    places: Sequence[Path],
    bundle_dir: Path | None = None,
    codecs: Sequence[str] | None = None,
    limit: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    None: the shipped bundle; all codecs; all frames. Raises MidstreamError before anything is measured if an argument
    cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    place = place_of(document.PAGE) if docs else None
    bundle = bundles.load(bundle_dir or shipped(), "both")
    wanted = chosen(ways(bundle), codecs)
    clips = found(places, Split(bundle), limit)
    rows = measure_all(clips, wanted)
    result = {
        "bundle": bundle.manifest.name,
        "digest": bundle.digest,
        "measured_by": command(places, bundle_dir, codecs, limit),
        "clips": [{"name": c.name, "camera": c.camera, "frames": len(c.scene.shots)} for c in clips],
        "standings": report.standings(rows),
        "rows": [row.as_json() for row in rows],
    }
    title = f"{bundle.manifest.name}: {len(clips)} clips of {', '.join(path.name for path in places)}"
    show(rows, result["standings"], title)
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plot.draw(rows, plot_path, title)
    if place is not None:
        document.write(place, result, rows, title)
    return result


def chosen(every: Sequence[Way], codecs: Sequence[str] | None) -> list[Way]:
    """The ways with these names, or those that begin with them. Raises MidstreamError if there is none of a name."""
    if codecs is None:
        return list(every)
    if unknown := [name for name in codecs if not any(way.name.startswith(name) for way in every)]:
        there = ", ".join(way.name for way in every)
        raise MidstreamError(f"no codec is called {', '.join(unknown)}; there are {there}")
    return [way for way in every if any(way.name.startswith(name) for name in codecs)]


def measure_all(clips: Sequence[Clip], wanted: Sequence[Way]) -> list[Row]:
    """The rows, with a bar that says how far it is."""
    columns_ = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    rows: list[Row] = []
    console = Console(stderr=True, highlight=False)
    with Progress(*columns_, console=console) as progress:
        for way in wanted:
            task = progress.add_task(way.name, total=len(way.ladder) * len(clips))
            for row in measured(clips, way, lambda task=task: progress.advance(task)):
                rows.append(row)
                if not console.is_terminal:
                    console.print(", ".join(report.cells(row)[:5]))
            progress.update(task, total=progress.tasks[task].completed)
    return rows


def show(rows: Sequence[Row], standings: Sequence[report.Standing], title: str) -> None:
    """Print both tables."""
    console = Console(highlight=False, width=max(120, Console().width))
    table = columns(report.HEADS, title)
    for row in rows:
        table.add_row(*report.cells(row))
    console.print(table)
    table = columns(report.standing_heads(), "bytes a frame at an agreement; in brackets beside the first codec")
    for standing in standings:
        table.add_row(*report.standing_cells(standing))
    console.print(table)


def command(places: Sequence[Path], bundle_dir: Path | None, codecs: Sequence[str] | None, limit: int | None) -> str:
    """The command line that measures this again. A path outside the working folder keeps only its name."""
    parts = ["midstream bench video"]
    for option, values in (("frames", places), ("bundle", [bundle_dir] if bundle_dir else [])):
        parts += [f"--{option} {path.name if path.is_absolute() else path.as_posix()}" for path in values]
    if codecs is not None:
        parts.append(f"--codecs '{','.join(codecs)}'")
    return " ".join([*parts, *([f"--limit {limit}"] if limit is not None else [])])
