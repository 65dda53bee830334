"""Where a network can be cut: what each place costs the edge and, measured, the link. A table, JSON, a plot."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.activation import activation, origin
from bench.networks import Split
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles
from common.errors import BundleError
from train.bundles import from_onnx, graph
from train.bundles.build import console, fit_named
from train.bundles.fit import fitted
from train.bundles.halves import Halves
from train.bundles.images import Sample, load
from train.bundles.measure import Subject
from train.bundles.progress import track

SUFFIX = ".onnx"
WIDTH = 132
"""Characters that the table takes; a narrower terminal breaks the lines."""
SAME = 0.01
"""Bytes and agreements that differ by less are equal: a few dozen pictures cannot tell them apart."""


@dataclass(frozen=True)
class Asked:
    """Which network: an ONNX file, or a torchvision model with its size and weights."""

    model: str
    size: int | None = None
    weights: str = "DEFAULT"
    head: str | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Measuring:
    """What to measure with."""

    calibrate: Path | None
    codec: str
    images: int


@dataclass(frozen=True)
class Row:
    """One tensor that cuts the network alone. What was not measured is None."""

    name: str
    shape: tuple[int, ...]
    elements: int
    macs: int
    """Multiply-adds on the edge."""
    share: float
    """Of all multiply-adds."""
    activation: str
    bytes: float | None = None
    agreement: float | None = None
    pareto: bool = False
    """No other cut costs both the edge and the link less (and, measured, agrees as well)."""


@dataclass(frozen=True)
class Cuttable:
    """A network that can be cut at any of `rows`; `halves` cuts it."""

    name: str
    rows: list[Row]
    halves: Callable[[str], Halves]
    origins: dict[str, str]
    """Of each row, the tensor in which its values were computed."""


def run(asked: Asked, measuring: Measuring | None, json_path: Path | None, plot: Path | None) -> list[Row]:
    """List, measure if asked to, choose, print, write."""
    check_file(json_path)
    check_file(plot, PLOTS)
    network = _onnx(asked) if _is_file(asked.model) else _torchvision(asked, measured=measuring is not None)
    if not network.rows:
        raise BundleError(f"no single tensor cuts {network.name}: name several with `bundle build --cut A,B`")
    rows = _measured(network, asked, measuring) if measuring else network.rows
    rows = pareto(rows)
    # Without soft wrapping, which would cut off what it does not fold.
    wide = console if console.width >= WIDTH else Console(highlight=False, width=WIDTH)
    wide.print(table(network.name, rows), soft_wrap=False)
    if json_path is not None:
        write_json(json_path, [asdict(row) for row in rows])
    if plot is not None:
        from train.bundles.draw import draw

        draw(network.name, rows, plot)
        console.print(plot)
    return rows


def _is_file(model: str) -> bool:
    return model.endswith(SUFFIX) or "/" in model or Path(model).is_file()


def _onnx(asked: Asked) -> Cuttable:
    path = Path(asked.model)
    network = graph.read(path)
    shapes = network.flow.shapes
    rows = []
    for name in network.flow.singles():
        macs, total = from_onnx.multiply_adds(network, [name])
        rows.append(_row(name, shapes[name], macs, total, activation(network.model, name).name))

    def halves(name: str) -> Halves:
        if asked.head is None:
            raise BundleError(f"say what the outputs of {path.name} mean: --head nanodet, yolox or fastestdet")
        return from_onnx.halves(path, from_onnx.Wanted((name,), asked.head, asked.labels))

    return Cuttable(path.stem, rows, halves, {row.name: origin(network.model, row.name) for row in rows})


def _torchvision(asked: Asked, measured: bool) -> Cuttable:
    from train.bundles import vision

    wanted = vision.Wanted(asked.model, asked.weights, asked.size, asked.labels)
    network = vision.read(wanted if measured else replace(wanted, weights=None))
    names = network.flow.singles()
    # The activations are read off the front half up to the last of the cuts.
    front = vision.export(network, names)
    total = vision.whole_multiply_adds(network)
    rows = [
        _row(
            name, network.flow.shapes[name], vision.multiply_adds(network, [name]), total, activation(front, name).name
        )
        for name in names
    ]
    origins = {name: origin(front, name) for name in names}
    return Cuttable(network.name, rows, lambda name: vision.halves(wanted, [name], None, {}), origins)


def _row(name: str, shape: tuple[int, ...], macs: int, total: int, kind: str) -> Row:
    return Row(name, shape[1:], math.prod(shape[1:]), macs, macs / max(1, total), kind)


def _measured(network: Cuttable, asked: Asked, measuring: Measuring) -> list[Row]:
    """The rows with bytes and agreement at the codec's default quality, on the pictures it was fitted to."""
    if measuring.calibrate is None:
        raise BundleError("name pictures to measure with: --calibrate with a folder or a COCO-style listing")
    fit = fit_named(measuring.codec)
    samples: list[Sample] = []
    rows = []
    quiet = Console(quiet=True)  # one bar is enough
    for row in track(network.rows, "cuts", console):
        if same := next((before for before in rows if _reordered(network.origins, before, row)), None):
            rows.append(replace(row, bytes=same.bytes, agreement=same.agreement))
            continue
        with tempfile.TemporaryDirectory() as scratch:
            halves = network.halves(row.name)
            split = Split(bundles.write(Path(scratch), {**halves.manifest(), "codec": {}}, halves.files))
            samples = samples or load(measuring.calibrate, split.bundle.manifest, measuring.images, console)
            subject = Subject(split, samples)
            if not rows:  # uncoded, every cut finds the same
                subject.check(console)
            try:
                codec, _, _ = fitted(fit, split, samples, quiet)
            except BundleError as e:  # the codec takes no tensor of this shape
                console.print(f"{row.name} is not measured: {e}")
                rows.append(row)
                continue
            point = subject.point(codec, codec.default_quality)
        rows.append(replace(row, bytes=point["bytes_mean"], agreement=point["agreement_ap50"]))
    return rows


def _reordered(origins: dict[str, str], before: Row, row: Row) -> bool:
    """Whether a tensor has the values of one before it, which was measured, in another order."""
    alike = len(before.shape) == len(row.shape) and before.bytes is not None  # else one may be codable, one not
    return alike and origins[before.name] == origins[row.name]


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The rows with those marked that none beats: less for the edge, less for the link, as good an agreement.

    Of equals, as a tensor and its reshapes are, the first. Where cuts were measured, only those count.
    """
    measured = any(row.bytes is not None for row in rows)
    running = [row for row in rows if row.bytes is not None or not measured]
    best = {row.name for i, row in enumerate(running) if not any(_beats(o, j, row, i) for j, o in enumerate(running))}
    return [replace(row, pareto=row.name in best) for row in rows]


def _beats(ours: Row, place: int, theirs: Row, their_place: int) -> bool:
    mine, yours = _costs(ours), _costs(theirs)
    return all(a <= b for a, b in zip(mine, yours, strict=True)) and (mine != yours or place < their_place)


def _costs(row: Row) -> tuple[float, ...]:
    # Bytes and agreement to the precision that a few pictures give: what moves values around is no better a cut.
    if row.bytes is None or row.agreement is None:
        return row.macs, row.elements
    return row.macs, round(math.log(row.bytes) / math.log(1 + SAME)), -round(row.agreement / SAME)


def table(name: str, rows: Sequence[Row]) -> Table:
    """The cuts for a person."""
    measured = any(row.bytes is not None for row in rows)
    drawn = Table(title=f"cuts of {name}", title_justify="left")
    drawn.add_column("cut", overflow="fold")
    drawn.add_column("shape", no_wrap=True)
    for heading in ("elements", "edge MMACs", "share", *(("bytes", "agreement") if measured else ())):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("activation", no_wrap=True)
    drawn.add_column("best", justify="center", no_wrap=True)
    for row in rows:
        cells = [row.name, "×".join(map(str, row.shape)), f"{row.elements:,}", f"{row.macs / 1e6:,.1f}"]
        cells.append(f"{row.share:.1%}")
        if measured:
            cells += ["", ""] if row.bytes is None else [f"{row.bytes:,.0f}", f"{row.agreement:.3f}"]
        drawn.add_row(*cells, row.activation, "*" if row.pareto else "", style="" if row.pareto else "dim")
    return drawn
