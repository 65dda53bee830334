"""Photos with masks, held out from whatever is trained with masks, and their classes as the mask layer counts them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.pictures import Picture, read, thinned
from common.errors import MidstreamError

Mask = NDArray[np.uint8]
"""[H, W] of classes."""

CLASSES = ("background", "person", "vehicle")
BACKGROUND, PERSON, VEHICLE = range(len(CLASSES))
UNKNOWN = 255
"""Where nobody said what is to be seen: not scored."""
CAMVID = {8: VEHICLE, 9: PERSON, 10: PERSON, 11: UNKNOWN}
"""CamVid's classes as ours: cars are vehicles, people on foot and on bicycles persons, the rest background."""
HELD_OUT = "0001TP"
"""The drive of CamVid that nothing with masks is trained on."""
UNMARKED = {"camvid": (), "pennfudan": (VEHICLE,)}
"""Classes that the masks of a set do not show though its photos may: found there, they count as background."""
TITLES = {"camvid": "CamVid", "pennfudan": "Penn-Fudan"}
LISTINGS = {"camvid": "instances_train.json", "pennfudan": "instances_val.json"}
"""Where the held-out photos of a set are listed."""


@dataclass(frozen=True)
class Marked:
    """A photo and the file of its mask, both of the same size."""

    path: Path
    mask: Path
    source: str

    def picture(self) -> Picture:
        """[H, W, 3] RGB. Raises MidstreamError if it cannot be read."""
        return read(self.path, stored=True)

    def labels(self) -> Mask:
        """Our classes, UNKNOWN where nothing is known. Raises MidstreamError if the file cannot be read."""
        try:
            with Image.open(self.mask) as image:
                return classes(np.asarray(image), self.source)
        except (OSError, ValueError) as e:
            raise MidstreamError(f"{self.mask} is no mask ({e!r})") from e


def classes(mask: Mask, source: str) -> Mask:
    """A mask [H, W] as it lies on disk to our classes."""
    if source == "pennfudan":
        return (mask > 0).astype(np.uint8)
    table = np.zeros(256, np.uint8)
    for there, here in CAMVID.items():
        table[there] = here
    return table[mask]


def held_out(root: Path, limit: int | None = None) -> list[Marked]:
    """At most `limit` of the held-out photos, evenly spread. Raises MidstreamError where there are none."""
    every = [photo for source, listing in LISTINGS.items() for photo in _listed(root, source, listing)]
    if not every:
        raise MidstreamError(f"no photos with masks in {root}: expected masks/camvid and masks/pennfudan")
    return thinned(every, limit)


def sources(photos: Sequence[Marked]) -> dict[str, int]:
    """How many photos of each set."""
    return {source: count for source in LISTINGS if (count := sum(p.source == source for p in photos))}


def _listed(root: Path, source: str, listing: str) -> list[Marked]:
    try:
        images = json.loads((root / listing).read_text())["images"]
        files = [root / image["file_name"] for image in images if image["source"] == source]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise MidstreamError(f"{root / listing} is not a listing of photos with their sources: {e!r}") from e
    wanted = [file for file in files if source != "camvid" or file.name.startswith(HELD_OUT)]
    marked = [Marked(file, root / "masks" / source / f"{file.stem}.png", source) for file in wanted]
    return [photo for photo in marked if photo.mask.is_file()]
