"""The bench from folders of pictures to tables, JSON, plots, a sheet to look at, and a page of the documentation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.denoise import document, evidence, plot, report, rows, sheet
from bench.denoise.cascades import BEFORE, BEHIND, Cleaning, cascades, remembered
from bench.denoise.compare import Where, deltas, strongest
from bench.denoise.denoisers import DnCNN, means, told
from bench.denoise.joint import Joint
from bench.denoise.known import Known, measured_at
from bench.denoise.rows import Pair
from bench.noise import REALISTIC, Noise
from bench.pages import place as place_of
from bench.pictures import read, thinned
from bench.rd.codecs import OTHERS, chosen
from bench.rd.layered import own
from bench.rd.run import found
from bench.rd.sheet import SUFFIXES
from bench.written import PLOTS, check_file, write_json
from common import bundle as bundles
from common.bundle import Bundle
from common.errors import MidstreamError

WIDTH = 140
"""Characters that the tables take; a narrower terminal breaks the lines."""
MOST = 100.0
"""Deviation beyond which clipping leaves little of the noise."""
SHEET_SIGMA = 25.0
"""Noise of the sheet, if it is among those that are measured."""


def run(
    images: Sequence[Path],
    sigmas: Sequence[float],
    realistic: bool = False,
    bundle_dir: Path | None = None,
    beside: Sequence[Path] = (),
    codecs: Sequence[str] | None = None,
    count: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    sheet_path: Path | None = None,
    docs: bool = False,
) -> dict[str, Any]:
    """Measure what the JSON file does not have yet, print all, write what is asked for, return what --json writes.

    `codecs`: measure these and no others, whatever the file has. Without a bundle, cascades alone. `beside` are bundles
    whose picture layers are in cascades, too. The file is written whenever there is more to keep, so a run that was
    stopped goes on where it was. Raises MidstreamError before anything is measured if an argument cannot be used.
    """
    check_file(json_path)
    check_file(plot_path, PLOTS)
    check_file(sheet_path, SUFFIXES)
    place = place_of(document.PAGE) if docs else None
    check(images, sigmas)
    sets = {folder.name: thinned(found(folder), count) for folder in images}
    noises = [*map(Noise, sigmas), *([REALISTIC] if realistic else [])]
    bench = Bench(sets, bundle_dir and bundles.load(bundle_dir, "both"), [bundles.load(one, "both") for one in beside])
    if sheet_path and bench.joint is None:
        raise MidstreamError("--sheet is about a bundle's layers: name one with --bundle")
    known = Known.read(json_path, {name: [file.name for file in files] for name, files in sets.items()})
    this = command(images, sigmas, realistic, bundle_dir, beside, count)
    bench.measure(known, noises, codecs, this, lambda: write_json(json_path, known.as_json()) if json_path else None)
    console = Console(highlight=False, width=max(WIDTH, Console().width))
    shown = report.tables(known.rows, deltas(known.rows, known.ours), known.alone, known.evidence)
    report.show(shown, console)
    if plot_path is not None:
        plot.draw(known.rows, known.alone, known.ours, plot_path)
    if sheet_path is not None:
        bench.sheet(known, noises, sheet_path)
    if place is not None:
        document.write(place, known)
    return known.as_json()


Tick = Callable[[], None]
Step = Callable[[Sequence[Pair], Tick], None]


class Bench:
    """Pictures by the name of their set, the codecs that are measured, and the denoiser of the cascades."""

    def __init__(self, sets: Mapping[str, Sequence[Path]], bundle: Bundle | None, beside: Sequence[Bundle]) -> None:
        self._sets, self._bundle = sets, bundle
        self.joint = Joint(bundle) if bundle else None
        self._ours = {bundle.manifest.name: own([bundle])[bundle.manifest.name]} if bundle else {}
        names = [one.manifest.name for one in beside]
        self._codecs = {**OTHERS, **{name: codec for name, codec in own(beside).items() if name in names}}
        self._network = DnCNN()

    def measure(
        self, known: Known, noises: Sequence[Noise], wanted: Sequence[str] | None, this: str, keep: Callable[[], None]
    ) -> None:
        """Add to what is known, and call `keep` whenever there is more of it."""
        if self._bundle:
            known.set_ours(self._bundle.manifest.name, self._bundle.digest)
        for name, files in self._sets.items():
            for noise in noises:
                if steps := self._steps(known, (name, noise), wanted, this):
                    pairs = [pair(file, noise) for file in files]
                    for what, step in steps:
                        with bar(f"{name}, {noise.title}: {what}", len(pairs)) as tick:
                            step(pairs, tick)
                        keep()

    def _steps(self, known: Known, where: Where, wanted: Sequence[str] | None, this: str) -> list[tuple[str, Step]]:
        """What is to be measured of some pictures with some noise."""
        clean, left = self._cleaning(where[1])
        every = {**self._ours, **cascades(clean, left, self._codecs)}
        picked = chosen(every, known.lacks(where, list(every)) if wanted is None else wanted)

        def add_alone(pairs: Sequence[Pair], tick: Tick) -> None:
            known.alone += rows.alone(*where, pairs, self._denoisers(where[1], clean), tick)

        def add_rows(some: Sequence[str], pairs: Sequence[Pair], tick: Tick) -> None:
            known.add(rows.measure(*where, pairs, {name: picked[name] for name in some}, tick))
            known.measured_by |= {measured_at(where, name): this for name in some}

        def add_evidence(pairs: Sequence[Pair], tick: Tick) -> None:
            assert self.joint
            found = evidence.measure(*where, pairs, self.joint, tick)
            known.evidence = [row for row in known.evidence if row.where != where] + found

        steps: list[tuple[str, Step]] = []
        if all(row.where != where for row in known.alone):
            steps.append(("denoisers", add_alone))
        steps += [(what, partial(add_rows, some)) for what, some in grouped(picked).items()]
        if self.joint and (self._ours.keys() & picked.keys() or all(row.where != where for row in known.evidence)):
            steps.append(("noisy layer", add_evidence))
        return steps

    def _cleaning(self, noise: Noise) -> tuple[Cleaning, Cleaning]:
        """What cascades have before a codec, and behind."""
        before, behind = (partial(told, one, noise=noise) for one in (self._network.opponent, self._network.left))
        return remembered(before), behind

    def _denoisers(self, noise: Noise, clean: Cleaning) -> dict[str, Cleaning]:
        others = {"rgb": self._network.rgb, "luma": self._network.luma, "means": means}
        return {"opponent": clean, **{name: partial(told, one, noise=noise) for name, one in others.items()}}

    def sheet(self, known: Known, noises: Sequence[Noise], path: Path) -> None:
        """Draw some pictures of the first set beside the best cascade at the clean layer's default rate."""
        assert self.joint
        name, files = next(iter(self._sets.items()))
        noise = min(noises, key=lambda noise: (noise.gain, abs(noise.sigma - SHEET_SIGMA)))
        there = [row for row in known.rows if row.where == (name, noise)]
        rate = next((row.clean_bpp for row in known.evidence if row.where == (name, noise)), 0.0)
        best = strongest(there, known.ours, rate)
        if best is None:
            raise MidstreamError(f"--sheet: no cascade was measured at {rate:.2f} bits a pixel or less")
        codec = cascades(*self._cleaning(noise), self._codecs)[best]
        some = [pair(file, noise) for file in thinned(files, sheet.PICTURES)]
        sheet.draw(some, noise, self.joint, (best, codec), path)


def grouped(codecs: Iterable[str]) -> dict[str, list[str]]:
    """The joint codec, cascades with the denoiser before and those with it behind; what there is of each."""
    found: dict[str, list[str]] = {}
    for name in codecs:
        what = "cascades" if name.startswith(BEFORE) else "cascades behind" if name.endswith(BEHIND) else name
        found.setdefault(what, []).append(name)
    return found


def check(images: Sequence[Path], sigmas: Sequence[float]) -> None:
    """Raise MidstreamError for noise that is none, and for folders that have one name."""
    if wrong := [f"{sigma:g}" for sigma in sigmas if not 1 <= sigma <= MOST]:
        raise MidstreamError(f"--sigma: expected deviations of 1 to {MOST:g}, got {', '.join(wrong)}")
    if len({folder.name for folder in images}) < len(images):
        raise MidstreamError("--images: rows are told apart by the folders' names, and two have the same")


def pair(file: Path, noise: Noise) -> Pair:
    """A file's picture, and the same with noise drawn by its name. Raises MidstreamError if it cannot be read."""
    clean = read(file, stored=False)
    return Pair(clean, noise.on(clean, file.name))


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that says how far it is; call what it gives for each step."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def command(
    images: Sequence[Path],
    sigmas: Sequence[float],
    realistic: bool,
    bundle_dir: Path | None,
    beside: Sequence[Path],
    count: int | None,
) -> str:
    """The command line that measures this again. Paths outside the working folder keep only their name."""
    parts = ["midstream bench denoise"]
    folders = [("images", images), ("bundle", [bundle_dir] if bundle_dir else []), ("beside", beside)]
    for option, paths in folders:
        parts += [f"--{option} {path.name if path.is_absolute() else path.as_posix()}" for path in paths]
    parts.append(f"--sigma {','.join(f'{sigma:g}' for sigma in sigmas)}")
    return " ".join([*parts, *(["--realistic"] if realistic else []), *([f"--count {count}"] if count else [])])
