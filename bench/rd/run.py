"""The bench from a folder of pictures to tables, JSON, a plot, a sheet to look at, and a page of the documentation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.pages import place as place_of
from bench.pictures import SUFFIXES, Picture, read
from bench.rd import document, plot, report, sheet, timing
from bench.rd.codecs import OTHERS, chosen
from bench.rd.compare import conclusions
from bench.rd.layered import COMPLETE, own
from bench.rd.published import curves
from bench.rd.rows import Row, ladders, measure
from bench.rivals import Rival
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles
from common.bundle import Bundle
from common.errors import MidstreamError

WIDTH = 120
"""Characters that the tables take; a narrower terminal breaks the lines."""


def run(
    images: Path,
    codecs: Sequence[str] | None = None,
    bundle_dirs: Sequence[Path] = (),
    qualities: Sequence[int] | None = None,
    timed: bool = False,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    sheet_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    None: all codecs, each at its own ladder of qualities. Rows that are in the JSON file already and whose codec is
    not measured now are kept; with no codecs at all, they are only drawn. Raises MidstreamError before anything is
    measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    check_file(sheet_path, sheet.SUFFIXES)
    place = place_of(document.PAGE) if docs else None
    files = found(images)
    loaded = [bundles.load(folder, "both") for folder in bundle_dirs]
    if timed or sheet_path:
        check_whole(loaded)
    picked = chosen({**own(loaded), **OTHERS}, codecs)
    known = earlier(json_path, files)
    rows = merged(known.get("rows", []), measured(files, picked, ladders(picked, qualities)))
    published = curves([file.stem for file in files])
    this = command(images, codecs, bundle_dirs, qualities, timed)
    result = {
        "images": [file.name for file in files],
        "measured_by": known.get("measured_by", {}) | dict.fromkeys(picked, this),
        "rows": [row.as_json() for row in rows],
        **conclusions(rows, published),
        "published": {one.name: {"source": one.source, "points": one.points} for one in published},
        "timing": known.get("timing", {}) | (times(loaded, files[0]) if timed else {}),
    }
    console = Console(highlight=False, width=max(WIDTH, Console().width))
    report.show(result, rows, console)
    timing.show(result["timing"], console)
    if json_path is not None:
        write_json(json_path, result)
    title = f"{images.name}: {len(files)} pictures"
    if plot_path is not None:
        plot.draw(rows, published, plot_path, title)
    if sheet_path is not None:
        sheet.draw(loaded[0], files, sheet_path)
    if place is not None:
        document.write(place, images.name, result, rows, published)
    return result


def check_whole(loaded: Sequence[Bundle]) -> None:
    """Raise MidstreamError unless there are bundles and every one of them gives whole pictures."""
    if not loaded:
        raise MidstreamError("--timing and --sheet are about a bundle's picture layers: name one with --bundle")
    for bundle in loaded:
        if all(layer.name not in COMPLETE for layer in bundle.manifest.layers):
            needed = " or ".join(repr(name) for name in COMPLETE)
            raise MidstreamError(f"--timing and --sheet need whole pictures; {bundle!r} has no layer {needed}")


def found(folder: Path) -> list[Path]:
    """The pictures in a folder, by name. Raises MidstreamError if there are none."""
    if not folder.is_dir():
        raise MidstreamError(f"{folder} is no folder: name one with pictures with --images")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise MidstreamError(f"no pictures in {folder}: expected {', '.join(sorted(SUFFIXES))}")
    return files


def measured(files: Sequence[Path], codecs: Mapping[str, Rival], wanted: Mapping[str, Sequence[int]]) -> list[Row]:
    """The rows of every codec, with a bar that says how far it is. A picture that cannot be read ends it."""
    if not codecs:
        return []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("pictures", total=len(files) * len(codecs))

        def pictures() -> Iterator[Picture]:
            for file in files:
                progress.update(task, description=file.name)
                yield read(file, stored=False)

        return measure(pictures(), codecs, wanted, lambda _: progress.advance(task))


def times(loaded: Sequence[Bundle], file: Path) -> dict[str, Any]:
    """The stages of each bundle on one picture, by the bundle's name."""
    return {bundle.manifest.name: timing.measure(bundle, read(file, stored=False)) for bundle in loaded}


def earlier(path: Path | None, files: Sequence[Path]) -> dict[str, Any]:
    """What was measured of these pictures before; nothing where there is no file.

    Raises MidstreamError if the file is about other pictures or is none of this bench.
    """
    if path is None or not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
        same = known["images"] == [file.name for file in files]
        rows = [as_row(row) for row in known["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise MidstreamError(f"{path} is not what `midstream bench rd` writes ({e!r}): name another file") from e
    if not same:
        raise MidstreamError(f"{path} is about other pictures: name another file, or remove it")
    return {**known, "rows": rows}


def as_row(values: Mapping[str, Any]) -> Row:
    """A row as --json wrote it. Raises KeyError if it lacks a field."""
    return Row(**{field.name: values[field.name] for field in fields(Row)})


def merged(known: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows, then those of the codecs that were not measured again; each codec's from few bits to many."""
    fresh = {row.codec for row in new}
    rows = [*new, *(row for row in known if row.codec not in fresh)]
    order = list(dict.fromkeys(row.codec for row in rows))
    return sorted(rows, key=lambda row: (row.codec in OTHERS, order.index(row.codec), row.bpp))


def command(
    images: Path,
    codecs: Sequence[str] | None,
    bundle_dirs: Sequence[Path],
    qualities: Sequence[int] | None,
    timed: bool,
) -> str:
    """The command line that measures this again. Paths outside the working folder keep only their name."""
    parts = ["midstream bench rd"]
    for option, path in (("images", images), *(("bundle", folder) for folder in bundle_dirs)):
        parts.append(f"--{option} {path.name if path.is_absolute() else path.as_posix()}")
    for option, values in (("codecs", codecs), ("qualities", qualities)):
        if values is not None:
            parts.append(f"--{option} {','.join(map(str, values))}")
    return " ".join([*parts, *(["--timing"] if timed else [])])
