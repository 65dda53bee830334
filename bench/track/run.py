"""The bench from labelled sequences to a table, JSON, a plot and a section of docs/results-track.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.masks.labels import held_out
from bench.networks import shipped
from bench.pages import place as place_of
from bench.pictures import read
from bench.settings import data_root
from bench.sfu import files, pictures, synthetic
from bench.track import document, plot, report
from bench.track.speed import OBJECTS, speed
from bench.track.study import Clip, Row, measure
from bench.written import PLOTS, check_file, check_folder, write_json
from common import bundle as bundles
from common.bundle import Bundle
from common.errors import MidstreamError
from common.tracking import SURE

WIDTH = 130
"""Characters that the table takes; a narrower terminal breaks the lines."""
RIVALS = ("jpeg", "x265", "av1", "none")
GROUNDS = ("kodim13", "kodim16", "kodim21", "kodim22")
"""Of Kodak's pictures some without people: where the made-up sequences play."""


def run(
    dataset: Path,
    video: Path,
    bundle_dirs: Sequence[Path] = (),
    codecs: Sequence[str] | None = None,
    frames: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    docs: bool = False,
    score: float = SURE,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    None: all rivals; all frames. Tracks begin at the score `score`. Raises MidstreamError before anything is
    measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    place = place_of(document.PAGE) if docs else None
    if unknown := sorted(set(codecs or ()) - set(RIVALS)):
        raise MidstreamError(f"no rival is called {', '.join(unknown)}; there are {', '.join(RIVALS)}")
    loaded = [bundles.load(path, "both") for path in bundle_dirs or [shipped()]]
    sequences = files.read_all(dataset)
    clips = [Clip(one, pictures.found(video, one, len(sequences) == 1)) for one in sequences]
    rows = measured(loaded, clips, codecs, frames, score)
    tracker = speed()
    result = {
        "dataset": dataset.resolve().name,
        "bundles": {bundle.manifest.name: bundle.digest for bundle in loaded},
        "measured_by": command(dataset, video, bundle_dirs, codecs, frames, score),
        "sequences": [one.name for one in sequences],
        "frames": sum(_frames(one, frames) for one in sequences),
        "tracker_ms": {"objects": OBJECTS, **tracker._asdict()},
        "bytes_at": report.needs(rows),
        "rows": [row.as_json() for row in rows],
    }
    title = f"{result['dataset']}: {len(sequences)} sequences, {result['frames']:,} frames"
    report.show(rows, title, Console(highlight=False, width=max(WIDTH, Console().width)))
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plot.draw(rows, plot_path, title)
    if place is not None:
        document.write(place, result, rows, title)
    return result


def measured(
    loaded: Sequence[Bundle], clips: Sequence[Clip], codecs: Sequence[str] | None, frames: int | None, score: float
) -> list[Row]:
    """The rows, with a bar that says how far it is."""
    total = len(loaded) * sum(_frames(clip.marked, frames) for clip in clips)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("frames", total=total)
        return measure(loaded, clips, codecs, frames, lambda count: progress.advance(task, count), score)


def _frames(sequence: files.Sequence, limit: int | None) -> int:
    there = max(sequence.frames) + 1
    return there if limit is None else min(limit, there)


def command(
    dataset: Path,
    video: Path,
    bundle_dirs: Sequence[Path],
    codecs: Sequence[str] | None,
    frames: int | None,
    score: float,
) -> str:
    """The command line that measures this again. Paths outside the working folder keep only their name."""
    parts = ["midstream bench track"]
    paths = [("dataset", dataset), ("video", video), *(("bundle", path) for path in bundle_dirs)]
    parts += [f"--{name} {path.name if path.is_absolute() else path.as_posix()}" for name, path in paths]
    parts += [] if codecs is None else [f"--codecs {','.join(codecs)}"]
    parts += [] if frames is None else [f"--frames {frames}"]
    parts += [] if score == SURE else [f"--score {score:g}"]
    return " ".join([*parts, "--docs"])


def make(out: Path, frames: int, rate: int, people: int, seed: int) -> None:
    """Write made-up sequences: labels below `out`/synthetic-tracks, pictures below `out`/video."""
    check_folder(out)
    root = data_root()
    cut = synthetic.cutouts([photo for photo in held_out(root) if photo.source == "pennfudan"])
    for number, name in enumerate(GROUNDS):
        ground = read(root / "kodak" / f"{name}.webp", stored=True)
        made = synthetic.make(
            out, f"walk-{name}", ground, cut, frames=frames, rate=rate, count=people, seed=seed + number
        )
        boxes = sum(len(marks) for marks in made.frames.values())
        Console(stderr=True).print(f"{made.name}: {frames} frames, {boxes} boxes")
