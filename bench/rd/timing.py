"""What each stage of the picture layers takes, on one thread, and what batches bring."""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.networks import placed
from bench.pictures import Picture
from bench.rd import costs
from bench.rd.layered import Layered
from common.bundle import Bundle
from common.codec.container import Kind, Layer
from common.codec.latent import LatentCoder
from common.codec.tiled import TiledCoder
from common.errors import BundleError, MidstreamError
from common.layers import CLEAN, FULL, LOW, NOISY
from common.network.front import Front
from common.scalable.networks import Networks
from common.scalable.regions import Region

SIZE = (640, 480)
"""Of the picture whose layers are timed."""
WARM, REPEATS = 2, 11
BATCHES = (1, 2, 4, 8)
TENTH = 0.1
"""Of the picture's area, the region that is decoded by itself."""
WHAT = {LOW: "base picture", CLEAN: "clean picture", FULL: "whole picture", NOISY: "noisy picture"}
"""Layers that show a picture."""
TILES = "tiles above it"
STAGES = {
    "analysis": "analysis",
    "hyper": "analysis",
    "lst": "feature transform",
    "synthesis": "synthesis",
    "preview": "preview",
}
"""What a network's file is called, after the layer's prefix -> its stage."""
ENTROPY, REST = "entropy coding", "rest"

Spent = dict[str, float]


def measure(bundle: Bundle, picture: Picture) -> dict[str, Any]:
    """Milliseconds of each stage (medians), multiply-adds, megabytes, and frames a second by batch size.

    The picture is resized to `SIZE`; the base path works at the network's size, whatever the picture's.
    """
    ours = Layered(bundle)
    picture = np.asarray(Image.fromarray(picture).resize(SIZE, Image.Resampling.LANCZOS))
    front, image = Front(bundle), placed(picture, bundle.manifest.input)
    window = bundle.manifest.input.window(*SIZE)
    features, base = front.run(image), ours.base(picture)
    found = {
        "front half": {"total": total(lambda: front.run(image))},
        "base layer, encode": stages(lambda: ours.codec.encode(features, None, window)),
        "base layer, decode": stages(lambda: ours.codec.decode(base, window)),
    }
    layers = [*base, *above(ours, picture)]
    found |= of_pictures(ours, picture)
    if ours.pictures.previews:
        found["preview from the base layer"] = stages(lambda: ours.pictures.preview(base, *SIZE))
    return {
        "size": SIZE,
        "bytes": [len(layer.payload) for layer in layers],
        "ms": found,
        "macs": costs.counted(bundle, SIZE),
        "edge_peak_mb": edge_peak(bundle),
        "per_second": {
            **({"features": feature_batches(ours, base)} if ours.upon else {}),
            "pictures": picture_batches(ours),
        },
    }


def above(ours: Layered, picture: Picture) -> list[Layer]:
    """Every layer above the base."""
    last = ours.pictures.layers[-1]
    return [layer for layer in ours.all(picture, None, last) if layer.kind > Kind.BASE]


def of_pictures(ours: Layered, picture: Picture) -> dict[str, Spent]:
    """Each layer that shows a picture: coding it beside those below it, and making the picture of all of them.

    Of a layer in tiles also a region of a tenth of the picture, from the tiles that it needs.
    """
    found = {}
    for layer in ours.pictures.layers:
        if layer.name in WHAT:
            what, below = WHAT[layer.name], ours.below(picture, layer)
            every = [*below, ours.pictures.encode(layer.name, picture, below)]
            coded = TILES if layer.tiled else what
            found[f"{coded}, encode"] = stages(lambda o=layer, b=below: ours.pictures.encode(o.name, picture, b))
            found[f"{what}, decode"] = stages(lambda o=layer, e=every: ours.pictures.decode(e, *SIZE, o.name))
            if layer.tiled:
                found[f"{what}, decode a tenth of it"] = stages(region(ours, layer.name, every))
    return found


def region(ours: Layered, name: str, layers: Sequence[Layer]) -> Callable[[], object]:
    """What decodes a region in the middle, as wide to its height as the picture, from its tiles alone."""
    width, height = (round(side * TENTH**0.5) for side in SIZE)
    where = [Region((SIZE[0] - width) // 2, (SIZE[1] - height) // 2, width, height)]
    few = [*layers[:-1], ours.pictures.cut(layers[-1], where, *SIZE)]
    return lambda: ours.pictures.decode(few, *SIZE, name, where)


def total(work: Callable[[], object]) -> float:
    """Milliseconds, the median of some runs after others that warm up."""
    taken = []
    for _ in range(WARM + REPEATS):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return 1e3 * median(taken[WARM:])


def stages(work: Callable[[], object]) -> Spent:
    """Milliseconds of each stage and of all, medians; what no network and no entropy coder takes is the rest."""
    runs: list[Spent] = []
    for _ in range(WARM + REPEATS):
        with watched() as spent:
            begin = time.perf_counter()
            work()
            whole = time.perf_counter() - begin
        runs.append({**spent, REST: whole - sum(spent.values()), "total": whole})
    return {name: 1e3 * median(run[name] for run in runs[WARM:]) for name in runs[-1]}


@contextmanager
def watched() -> Iterator[Spent]:
    """Seconds that the networks and the entropy coders take inside this, by stage."""
    spent: Spent = defaultdict(float)
    coding = ((LatentCoder, "payload"), (LatentCoder, "decode"), (TiledCoder, "encode"), (TiledCoder, "decode"))
    doors = ((Networks, "run_all"), *coding)
    originals = [getattr(owner, method) for owner, method in doors]

    def timed(original: Callable[..., Any], stage: Callable[..., str]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return original(*args, **named)
            finally:
                spent[stage(*args)] += time.perf_counter() - begin

        return run

    for (owner, method), original in zip(doors, originals, strict=True):
        setattr(owner, method, timed(original, stage_of if owner is Networks else lambda *_: ENTROPY))
    try:
        yield spent
    finally:
        for (owner, method), original in zip(doors, originals, strict=True):
            setattr(owner, method, original)


def stage_of(_: Networks, name: str, *__: object) -> str:
    """Which stage a network's file is, by its name: that of full_synthesis.onnx is synthesis."""
    return STAGES.get(name.removesuffix(".onnx").rpartition("_")[2], REST)


def edge_peak(bundle: Bundle) -> float:
    """Megabytes that an edge has resident at most, coding a picture's layers."""
    program = [sys.executable, "-m", "bench.rd.edge_memory", str(bundle.path), *map(str, SIZE)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MidstreamError(f"the edge's memory cannot be measured: {done.stderr.strip()[-400:]}")
    return float(done.stdout)


def feature_batches(ours: Layered, layers: Sequence[Any]) -> dict[int, float]:
    """Frames a second of base_lst.onnx, by how many it gets at once."""
    window = ours.bundle.manifest.input.window(*SIZE)
    latent, cells = ours.codec.latent(layers, window), ours.codec.cells(window)
    return {n: 1e3 * n / total(lambda n=n: ours.codec.raised([latent] * n, [cells] * n)) for n in BATCHES}


def picture_batches(ours: Layered) -> dict[int, float]:
    """Pictures a second of the synthesis network, by how many it gets at once; none that it does not take."""
    last, networks = costs.synthesis(ours.bundle, SIZE), Networks(ours.bundle, 1)
    found: dict[int, float] = {}
    for n in BATCHES:
        tensors = {tensor: np.zeros((n, *shape), np.float32) for tensor, shape in last.taken.items()}
        try:
            found[n] = 1e3 * n / total(lambda t=tensors: networks.run(last.file, last.result, **t))
        except BundleError:
            break
    return found


def timing_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was measured of one bundle as lines of two cells."""
    width, height = found["size"]
    lines = [(f"bytes of the layers at {width}x{height}", ", ".join(f"{size:,}" for size in found["bytes"]))]
    for what, spent in found["ms"].items():
        parts = ", ".join(f"{stage} {ms:.2f}" for stage, ms in spent.items() if stage != "total")
        lines.append((what, f"{spent['total']:.2f} ms" + (f": {parts}" if parts else "")))
    lines += costs.costs_rows(found["macs"])
    lines.append(("an edge's peak of resident memory", f"{found['edge_peak_mb']:.0f} MB"))
    for what, rates in found["per_second"].items():
        text = ", ".join(f"{rate:.1f} in batches of {n}" for n, rate in rates.items())
        lines.append((f"decoder networks, {what} a second", text))
    return lines


def show(timing: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print them."""
    for name, found in timing.items():
        table = Table(box=SIMPLE, padding=(0, 1), title=f"{name}, one thread", title_justify="left", show_header=False)
        for line in timing_rows(found):
            table.add_row(*line)
        console.print(table)
