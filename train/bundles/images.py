"""Pictures to calibrate with and to measure on: a folder of them, or a listing in COCO's format with boxes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench.coco import listed
from bench.networks import placed
from bench.pictures import SUFFIXES, opened, thinned
from bench.score import Marks
from common.bundle import Manifest
from common.errors import BundleError
from train.bundles.progress import track


@dataclass(frozen=True)
class Sample:
    """One picture as the network takes it, and what is known of it."""

    image: NDArray[np.uint8]
    """[size, size, 3] RGB."""
    width: int
    height: int
    """Of the picture itself."""
    marks: Marks | None
    """Boxes in the picture's pixels with the bundle's labels; None where nobody marked any."""


@dataclass(frozen=True)
class Source:
    """Where one picture is, and what is marked in it."""

    path: Path
    marks: Marks | None = None


def load(source: Path, manifest: Manifest, limit: int, console: Console) -> list[Sample]:
    """At most `limit` pictures, spread evenly over what is there; files that cannot be read are counted and named.

    Raises MidstreamError if there is none, or if the listing's categories are not the bundle's labels.
    """
    chosen = thinned(find(source, manifest.detector.labels), limit)
    files = track([one.path for one in chosen], "pictures", console)
    return [
        Sample(placed(picture, manifest.input), picture.shape[1], picture.shape[0], chosen[i].marks)
        for i, picture in opened(files, console, stored=chosen[0].marks is not None)
    ]


def find(source: Path, labels: Sequence[str]) -> list[Source]:
    """All pictures of a folder, by name, or of a listing, in its order. Raises BundleError if there are none."""
    if not source.exists():
        raise BundleError(f"there is no {source}: name a folder of pictures or a listing in COCO's JSON format")
    found = _in_folder(source) if source.is_dir() else _in_listing(source, labels)
    if not found:
        raise BundleError(f"{source} holds no pictures ({', '.join(sorted(SUFFIXES))}): a hundred are a good number")
    return found


def _in_folder(folder: Path) -> list[Source]:
    try:
        return [Source(p) for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as e:
        raise BundleError(f"cannot read {folder}: {e.strerror or e}") from e


def _in_listing(listing: Path, labels: Sequence[str]) -> list[Source]:
    try:
        categories = {c["name"]: int(c["id"]) for c in json.loads(listing.read_text())["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise BundleError(f"{listing} is neither a folder nor a listing in COCO's JSON format: {e!r}") from e
    if not categories.keys() & set(labels):
        raise BundleError(
            f"no category of {listing} is a label of the bundle: it has {', '.join([*categories][:5])} ..., "
            f"the bundle {', '.join(labels[:5])} ...; correct --labels, or give the folder of the pictures instead"
        )
    return [
        Source(p.path, p.marks)
        for p in listed(listing, [categories.get(name, -1 - i) for i, name in enumerate(labels)])
    ]
