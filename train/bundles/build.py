"""Halves become a bundle: a codec fitted to pictures, operating points measured on real coded bytes."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench.networks import Split
from bench.written import check_folder
from common import bundle as bundles
from common import feature_codec
from common.bundle import Bundle
from common.errors import BundleError
from common.types import Mode
from train.bundles.fit import FITS, Fit, fitted
from train.bundles.halves import Files, Halves, described
from train.bundles.images import Sample, load
from train.bundles.measure import PICTURE_QUALITIES, Point, Subject, points
from train.bundles.progress import track

console = Console(highlight=False, soft_wrap=True)
IMAGES = 200
HELD_OUT = 4
"""One picture of so many measures what the others calibrated."""
LITTLE = 0.95
"""The agreement that a codec of continuous quality proposes to run at."""


@dataclass(frozen=True)
class Pictures:
    """What to fit to and to measure on: folders or listings in COCO's format; of each at most `limit` pictures."""

    calibrate: Path
    validate: Path | None = None
    """None: one picture of `HELD_OUT` is held out of the others."""
    limit: int = IMAGES


def build(halves: Halves, pictures: Pictures, out: Path, fit: Fit) -> Bundle:
    """Write the bundle of these halves below `out`: codec fitted, operating points measured."""
    return _finish(halves.manifest(), halves.files, pictures, out, fit)


def calibrate(path: Path, pictures: Pictures, out: Path, fit: Fit) -> Bundle:
    """Write a bundle again below `out`, its codec fitted anew, its operating points measured anew."""
    check_folder(out)
    manifest, files = described(bundles.load(path, "both"))
    return _finish(manifest, {n: f for n, f in files.items() if n != feature_codec.ARRAYS}, pictures, out, fit)


def fit_named(codec: str) -> Fit:
    """How the codec of this name is fitted. Raises BundleError."""
    if codec not in FITS:
        raise BundleError(f"there is no codec {codec!r} to fit: choose one of {', '.join(sorted(FITS))} with --codec")
    return FITS[codec]


def _finish(manifest: dict[str, Any], files: Files, pictures: Pictures, out: Path, fit: Fit) -> Bundle:
    """Fit, measure, write, verify. What is written appears complete or not at all."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = bundles.write(Path(scratch), {**manifest, "codec": {}}, files)
        split = Split(draft)
        fitting, measuring = _samples(draft, pictures)
        subject = Subject(split, measuring)
        subject.check(console)
        console.print(f"fitting the codec to {len(fitting)} pictures")
        codec, params, arrays = fitted(fit, split, fitting, console)
        console.print(f"measuring {codec.name} on {len(measuring)} pictures")
        measured = {"operating_points": measure(points(subject, codec))}
        if isinstance(codec.qualities, range):
            params = {**params, "default_quality": proposed(measured["operating_points"])}
        if Mode.IMAGE in draft.manifest.modes:
            measured["picture_points"] = measure(subject.picture_point(quality) for quality in PICTURE_QUALITIES)
    if arrays:
        files = {**files, feature_codec.ARRAYS: ("both", packed(arrays))}
    try:
        bundle = bundles.write(out, {**manifest, "codec": params, **measured}, files)
    except OSError as e:
        raise BundleError(f"cannot write the bundle below {out}: {e.strerror or e}; choose another --out") from e
    console.print(f"{bundle!r}\n{bundle.path}\n{default_point(bundle)}")
    return bundles.load(bundle.path, "both", bundle.digest)


def _samples(draft: Bundle, pictures: Pictures) -> tuple[list[Sample], list[Sample]]:
    """The pictures to fit to and those to measure on; the same only where there are too few to be parted."""
    found = load(pictures.calibrate, draft.manifest, pictures.limit, console)
    if pictures.validate is not None:
        return found, load(pictures.validate, draft.manifest, pictures.limit, console)
    if len(found) < HELD_OUT:
        console.print(
            f"only {len(found)} pictures: measured on those the codec was fitted to; a hundred would do better"
        )
        return found, found
    return [s for i, s in enumerate(found) if i % HELD_OUT], found[::HELD_OUT]


def measure(found: Iterable[Point]) -> list[Point]:
    """The operating points as they come, rising in quality."""
    return sorted(track(found, "operating points", console), key=lambda point: point["quality"])


def proposed(found: Sequence[Point]) -> int:
    """The cheapest quality at which coding changes little; the best one if it always changes more."""
    good = [point["quality"] for point in found if point["agreement_ap50"] >= LITTLE]
    return min(good, default=max(point["quality"] for point in found))


def default_point(bundle: Bundle) -> str:
    """What a person should expect of the default quality: bytes and agreement, as far as they were measured."""
    quality = feature_codec.of(bundle).default_quality
    near = min(bundle.manifest.operating_points, key=lambda point: abs(point.quality - quality))
    at = f"{quality}" if near.quality == quality else f"{quality}, measured nearby at {near.quality}"
    return f"default quality {at}: {near.bytes_mean:,.0f} bytes a picture, agreement {near.agreement_ap50:.3f}"


def packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    """codec.npz, the same bytes for the same arrays."""
    with tempfile.TemporaryFile() as file:
        np.savez_compressed(file, **arrays)
        file.seek(0)
        return file.read()
