"""Pictures from anywhere: which files are some, how they are read, how some of many are chosen and made to fit."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.markup import escape

from common.errors import MidstreamError
from common.geometry import GREY, Fit, letterbox_geometry

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
LONGEST = 65_535
"""Pixels of a side: what a container can say of a picture."""
SHOWN = 3
"""Of the files that cannot be read, how many are named."""

Picture = NDArray[np.uint8]
T = TypeVar("T")


def opened(files: Iterable[Path], console: Console, *, stored: bool) -> Iterator[tuple[int, Picture]]:
    """Number and picture of each file; those that cannot be read are left out, then counted and named.

    `stored` as in `read`. Raises MidstreamError in the end if not one could be read.
    """
    total, skipped = 0, []
    for number, file in enumerate(files):
        total += 1
        try:
            picture = read(file, stored=stored)
        except MidstreamError as e:
            skipped.append(str(e))
            continue
        yield number, picture
    named = ", ".join(skipped[:SHOWN]) + (f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else "")
    if len(skipped) == total:
        raise MidstreamError(f"none of the {total} pictures can be read: {named}")
    if skipped:
        console.print(escape(f"skipped {len(skipped)} of {total} pictures: {named}"))


def read(path: Path, *, stored: bool) -> Picture:
    """One picture [H,W,3] RGB: upright, or as it is stored, which boxes in a listing are for.

    Raises MidstreamError, saying why, if it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return _pixels(image, stored)
    except MidstreamError as e:
        raise MidstreamError(f"{path.name} ({e})") from e
    except Exception as e:  # Pillow's parsers raise whatever a damaged file leads them to
        raise MidstreamError(f"{path.name} ({e!r})") from e


def _pixels(image: Image.Image, stored: bool) -> Picture:
    if max(image.size) > LONGEST:
        raise MidstreamError(f"{image.width}x{image.height} pixels: a side of at most {LONGEST} can be coded")
    upright = image if stored else ImageOps.exif_transpose(image)
    return np.asarray(upright.convert("RGB"))


def thinned(things: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` of them, evenly spread."""
    if limit is None or limit >= len(things):
        return list(things)
    return [things[i] for i in np.linspace(0, len(things) - 1, limit).round().astype(int)]


def fitted(picture: Picture, size: int, fit: Fit = "letterbox", pad: int = GREY) -> Picture:
    """A network's input [size,size,3]: the picture resized (bilinear, antialiased), centred on grey or stretched."""
    box = letterbox_geometry(picture.shape[1], picture.shape[0], size, fit)
    small = Image.fromarray(picture).resize((box.width, box.height), Image.Resampling.BILINEAR)
    canvas = np.full((size, size, 3), pad, np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(small)
    return canvas
