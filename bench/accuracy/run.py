"""The bench from a bundle to tables, JSON, a plot and a section of docs/results.md."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import plots
from bench.accuracy import document, report
from bench.accuracy.compare import Draws, deltas, standings
from bench.accuracy.rows import Measured, sweep
from bench.accuracy.scene import Scene, Shot, console, folder, listing
from bench.accuracy.ways import names, way
from bench.networks import Split, placed, shipped
from bench.pages import place as place_of
from bench.score import SURE, average_precision
from bench.settings import data_root
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles
from common.bundle import Bundle
from common.errors import MidstreamError

SOURCE = "coco_val2017"
"""Of the photos in the standard listing, those that no COCO-trained network has seen."""
IMAGES = 128
"""Of a folder or a video, unless told otherwise."""
TIMED = 20


def run(
    bundle_dir: Path | None = None,
    coco: Path | None = None,
    frames: Path | None = None,
    codecs: Sequence[str] | None = None,
    images: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes.

    None: the shipped bundle; the COCO photos of the standard listing; all codecs; all photos. Raises MidstreamError
    before anything is measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    place = place_of(document.PAGE) if docs else None
    bundle = bundles.load(bundle_dir or shipped(), "both")
    chosen = names(bundle, codecs)
    name, shots = photos(bundle, coco, frames, images)
    scene = Scene(Split(bundle), shots)
    if not any((found.scores >= SURE).any() for found in scene.uncoded):
        console.print("[yellow]nothing sure is found in these photos uncoded: every agreement will be 0[/]")
    measured = measure_all(scene, chosen)
    draws = Draws(measured)
    result = {"photos": name, **described(scene), "rows": [m.row.as_json() for m in measured]}
    found = standings(measured, draws)
    result |= {"standings": [report.as_json(s) for s in found], "bd_rate": report.deltas_as_json(deltas(measured))}
    report.show(result, measured, found)
    if json_path is not None:
        write_json(json_path, result)
    if plot_path is not None:
        plots.accuracy(measured, plot_path, title=report.title(result))
    if place is not None:
        document.write(place, result, measured, found, draws, command(bundle_dir, coco, frames, codecs, images))
    return result


def photos(bundle: Bundle, coco: Path | None, frames: Path | None, images: int | None) -> tuple[str, list[Shot]]:
    """What the photos are called, and they themselves."""
    if coco is not None and frames is not None:
        raise MidstreamError("--coco and --frames exclude each other: photos either have boxes or they have not")
    if frames is not None:
        return frames.name, folder(frames, images or IMAGES)
    if coco is not None:
        return coco.name, listing(coco, bundle, SOURCE, images)
    return "COCO val2017", listing(data_root() / "instances_val.json", bundle, SOURCE, images)


def measure_all(scene: Scene, chosen: Sequence[str]) -> list[Measured]:
    """The rows of every codec, each codec's from coarse to fine."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    every: list[Measured] = []
    with Progress(*columns, console=console) as progress:
        for one_way in (way(name, scene) for name in chosen):
            # The whole ladder, at most: a sweep ends where it has seen enough.
            task = progress.add_task(one_way.name, total=len(one_way.ladder) * len(scene.shots))
            rows = []
            for one in sweep(scene, one_way, lambda task=task: progress.advance(task)):
                rows.append(one)
                note = f"{one_way.name} {one.row.quality}: {one.row.bytes_mean:,.0f} B, {one.row.agreement_ap50:.3f}"
                progress.update(task, description=note)
                if not console.is_terminal:
                    console.print(note)
            progress.update(task, total=progress.tasks[task].completed, description=one_way.name)
            every += sorted(rows, key=lambda m: one_way.ladder.index(m.row.quality))
    return every


def described(scene: Scene) -> dict[str, Any]:
    """The bundle, and its network when nothing is coded."""
    manifest, marks = scene.bundle.manifest, scene.marks
    ap, ap50 = average_precision(marks, scene.uncoded, scene.classes) if marks else (None, None)
    front_ms, back_ms = halves_ms(scene)
    return {
        "bundle": manifest.name,
        "version": manifest.version,
        "digest": scene.bundle.digest,
        "detector": manifest.detector.name,
        "cut": [{"name": t.name, "shape": list(t.shape)} for t in manifest.cut.tensors],
        "edge_share": manifest.cut.macs_front / max(1, manifest.cut.macs_front + manifest.cut.macs_back),
        "images": len(scene.shots),
        "sure": sum(int((found.scores >= SURE).sum()) for found in scene.uncoded),
        "uncoded": {"bytes": 4 * scene.elements, "ap": ap, "ap50": ap50},
        "front_ms": front_ms,
        "back_ms": back_ms,
    }


def halves_ms(scene: Scene) -> tuple[float, float]:
    """Milliseconds of the front and of the back half, medians over some photos, on one thread."""
    fronts, backs = [], []
    for shot in scene.shots[:TIMED]:
        image = placed(shot.picture, scene.bundle.manifest.input)
        begin = time.perf_counter()
        features = scene.split.front.run(image)
        middle = time.perf_counter()
        scene.split.back.run([tensor[None] for tensor in features])
        backs.append(time.perf_counter() - middle)
        fronts.append(middle - begin)
    return 1e3 * float(np.median(fronts)), 1e3 * float(np.median(backs))


def command(
    bundle_dir: Path | None, coco: Path | None, frames: Path | None, codecs: Sequence[str] | None, images: int | None
) -> str:
    """The command line that measures this again. Paths outside the working folder keep only their name."""
    parts = ["midstream bench accuracy"]
    for option, value in (("bundle", bundle_dir), ("coco", coco), ("frames", frames)):
        if value is not None:
            shown = value.name if value.is_absolute() else value.as_posix()
            parts.append(f"--{option} {shown}")
    if codecs is not None:
        parts.append(f"--codecs {','.join(codecs)}")
    if images is not None:
        parts.append(f"--images {images}")
    return " ".join([*parts, "--docs"])
