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
from bench.rd.layered import FULL, Layered
from common.bundle import Bundle
from common.codec.latent import LatentCoder
from common.errors import BundleError, MidstreamError
from common.network.front import Front
from common.scalable.networks import Networks

SIZE = (640, 480)
"""Of the picture whose layers are timed."""
WARM, REPEATS = 2, 11
BATCHES = (1, 2, 4, 8)
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
    features = front.run(image)
    layers = ours.all(picture)
    found = {
        "front half": {"total": total(lambda: front.run(image))},
        "base layer, encode": stages(lambda: ours.codec.encode(features, None, window)),
        "base layer, decode": stages(lambda: ours.codec.decode(layers[:1], window)),
        "whole picture, encode": stages(lambda: ours.pictures.encode(FULL, picture, layers[:-1])),
        "whole picture, decode": stages(lambda: ours.pictures.decode(layers, *SIZE)),
    }
    if ours.pictures.previews:
        found["preview from the base layer"] = stages(lambda: ours.pictures.preview(layers[:1], *SIZE))
    return {
        "size": SIZE,
        "bytes": [len(layer.payload) for layer in layers],
        "ms": found,
        "macs": costs.counted(bundle, SIZE),
        "edge_peak_mb": edge_peak(bundle),
        "per_second": {"features": feature_batches(ours, layers), "pictures": picture_batches(ours, layers)},
    }


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
    doors = ((Networks, "run_all"), (LatentCoder, "encode"), (LatentCoder, "decode"))
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


def picture_batches(ours: Layered, layers: Sequence[Any]) -> dict[int, float]:
    """Pictures a second of the synthesis network, by how many it gets at once; none that it does not take."""
    (about,) = (layer for layer in ours.bundle.manifest.layers if layer.name == FULL)
    y = ours.pictures.latent(layers, *SIZE).astype(np.float32) / 256
    networks, name = Networks(ours.bundle, 1), f"{about.prefix}_synthesis.onnx"
    context = np.zeros((about.context, *y.shape[1:]), np.float32)
    found: dict[int, float] = {}
    for n in BATCHES:
        tensors = {"y": np.stack([y] * n), "context": np.stack([context] * n)}
        try:
            found[n] = 1e3 * n / total(lambda t=tensors: networks.run(name, "x", **t))
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
