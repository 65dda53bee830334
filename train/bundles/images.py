"""Pictures to calibrate with and to measure on: a folder of them, or a listing in COCO's format with boxes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console

from bench.coco import listed
from bench.networks import placed
from bench.score import Marks
from common.bundle import Manifest
from common.errors import BundleError
from train.bundles.progress import track

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SHOWN = 3
"""Of the files that cannot be read, how many are named."""


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

    Raises BundleError if there is none, or if the listing's categories are not the bundle's labels.
    """
    everything = find(source, manifest.detector.labels)
    picks = np.unique(np.linspace(0, len(everything) - 1, min(limit, len(everything))).round().astype(int))
    samples, skipped = [], []
    for pick in track(picks, "pictures", console):
        try:
            samples.append(read(everything[pick], manifest))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
            skipped.append(f"{everything[pick].path.name} ({str(e).splitlines()[0]})")
    if skipped:
        more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        console.print(f"skipped {len(skipped)} of {len(picks)} pictures: {', '.join(skipped[:SHOWN])}{more}")
    if not samples:
        raise BundleError(f"none of the {len(picks)} pictures of {source} can be read: {'; '.join(skipped[:SHOWN])}")
    return samples


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


def read(source: Source, manifest: Manifest) -> Sample:
    """One picture. Raises what Pillow raises if it cannot be read."""
    with Image.open(source.path) as image:
        # Boxes in a listing are in the pixels as they are stored.
        upright = image if source.marks is not None else ImageOps.exif_transpose(image)
        picture = np.asarray(upright.convert("RGB"))
    return Sample(placed(picture, manifest.input), picture.shape[1], picture.shape[0], source.marks)
