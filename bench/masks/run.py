"""The bench from a bundle to a table, JSON, a plot and a section of docs/results-masks.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.masks import document, plot, report
from bench.masks.coding import Masks
from bench.masks.labels import CLASSES, TITLES, Marked, held_out, sources
from bench.masks.rows import Row, measure
from bench.pages import place as place_of
from bench.settings import data_root
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles

WIDTH = 140
"""Characters that the table takes; a narrower terminal breaks the lines."""


def run(
    bundle_dir: Path,
    qualities: Sequence[int] | None = None,
    base_qualities: Sequence[int] | None = None,
    images: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    None: `Masks.ladders`; all photos. Raises MidstreamError before anything is measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    place = place_of(document.PAGE) if docs else None
    bundle = bundles.load(bundle_dir, "both")
    masks = Masks(bundle)
    base, mask = masks.ladders(base_qualities, qualities)
    photos = held_out(data_root(), images)
    rows = measured(masks, photos, base, mask)
    result = {
        "bundle": bundle.manifest.name,
        "digest": bundle.digest,
        "measured_by": command(bundle_dir, qualities, base_qualities, images),
        "photos": sources(photos),
        "classes": CLASSES,
        "rows": [row.as_json() for row in rows],
    }
    there = " and ".join(f"{count} of {TITLES[source]}" for source, count in sources(photos).items())
    title = f"{bundle.manifest.name}: masks of {there}"
    report.show(rows, title, Console(highlight=False, width=max(WIDTH, Console().width)))
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plot.draw(rows, plot_path, title)
    if place is not None:
        document.write(place, result, rows, title)
    return result


def measured(masks: Masks, photos: Sequence[Marked], base: Sequence[int], mask: Sequence[int]) -> list[Row]:
    """The rows, with a bar that says how far it is."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("photos", total=len(photos))
        return measure(masks, photos, base, mask, lambda: progress.advance(task))


def command(
    bundle_dir: Path, qualities: Sequence[int] | None, base_qualities: Sequence[int] | None, images: int | None
) -> str:
    """The command line that measures this again. A path outside the working folder keeps only its name."""
    parts = [f"midstream bench masks --bundle {bundle_dir.name if bundle_dir.is_absolute() else bundle_dir.as_posix()}"]
    for option, values in (("qualities", qualities), ("base-qualities", base_qualities)):
        if values is not None:
            parts.append(f"--{option} {','.join(map(str, values))}")
    return " ".join([*parts, *([f"--images {images}"] if images is not None else [])])
