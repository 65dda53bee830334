"""The bench from a bundle and a folder of pictures to tables, JSON, a plot and a section of docs/results-roi.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.pages import place as place_of
from bench.pictures import Picture, read, thinned
from bench.rd.run import found
from bench.roi import document, plot, report, served
from bench.roi.areas import Areas, Row
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles

WIDTH = 120
"""Characters that the tables take; a narrower terminal breaks the lines."""


def run(
    bundle_dir: Path,
    images: Path,
    count: int | None = None,
    serve: bool = True,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    Raises MidstreamError before anything is measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    place = place_of(document.PAGE) if docs else None
    bundle = bundles.load(bundle_dir, "both")
    files = thinned(found(images), count)
    rows = measured(Areas(bundle), files)
    times = served.measure(bundle) if serve else []
    title = f"{bundle.manifest.name}, {images.name}"
    result = {
        "bundle": bundle.manifest.name,
        "digest": bundle.digest,
        "measured_by": command(bundle_dir, images, count, serve),
        "images": [file.name for file in files],
        "rows": [row.as_json() for row in rows],
        "served": [row.as_json() for row in times],
    }
    report.show(rows, times, Console(highlight=False, width=max(WIDTH, Console().width)))
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plot.draw(rows, times, plot_path, title)
    if place is not None:
        document.write(place, result, rows, times, title)
    return result


def measured(areas: Areas, files: list[Path]) -> list[Row]:
    """The rows of areas, with a bar that says how far it is."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("pictures", total=len(files))

        def pictures() -> Iterator[tuple[str, Picture]]:
            for file in files:
                yield file.name, read(file, stored=False)

        return areas.measure(pictures(), lambda: progress.advance(task))


def command(bundle_dir: Path, images: Path, count: int | None, serve: bool) -> str:
    """The command line that measures this again. A path outside the working folder keeps only its name."""
    parts = ["midstream bench roi"]
    for option, path in (("bundle", bundle_dir), ("images", images)):
        parts.append(f"--{option} {path.name if path.is_absolute() else path.as_posix()}")
    return " ".join([*parts, *([f"--count {count}"] if count else []), *([] if serve else ["--no-serve"])])
