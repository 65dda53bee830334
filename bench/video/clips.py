"""Clips: folders of pictures, one a frame, and videos; and whether their camera moved."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.accuracy.scene import VIDEOS, Scene, Shot, frames
from bench.networks import Split
from bench.pictures import SUFFIXES
from common.errors import MidstreamError

STATIC, MOVING = "static", "moving"
SMALL = 64, 36
"""Pixels at which frames are compared: noise and small objects are no matter."""
STILL = 2.0
"""Grey levels that a pixel of those changes by from frame to frame, in the middle, if the camera stands still."""


class Clip(NamedTuple):
    """Frames of one camera in order, and what the network makes of them uncoded."""

    name: str
    scene: Scene
    camera: str
    """STATIC or MOVING."""


def found(places: Sequence[Path], split: Split, limit: int | None) -> list[Clip]:
    """The clips of folders and videos, the first `limit` frames of each. Raises MidstreamError if there are none."""
    clips = [clip(path, split, limit) for place in places for path in listed(place)]
    if not clips:
        raise MidstreamError(f"no clip in {', '.join(str(place) for place in places)}: expected folders of pictures")
    return clips


def listed(place: Path) -> list[Path]:
    """The folders of pictures and the videos of a folder; itself, if it is one."""
    if place.is_file() or (place.is_dir() and pictures(place)):
        return [place]
    if not place.is_dir():
        raise MidstreamError(f"{place} is neither a folder nor a video")
    return [path for path in sorted(place.iterdir()) if path.suffix.lower() in VIDEOS or pictures(path)]


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in there if path.suffix.lower() in SUFFIXES)


def clip(path: Path, split: Split, limit: int | None) -> Clip:
    """One clip. Raises MidstreamError if it cannot be decoded or has less than two frames."""
    if path.is_dir():
        seen = [np.asarray(Image.open(file).convert("RGB")) for file in pictures(path)[:limit]]
    else:
        seen = []
        for frame in frames(path):
            seen.append(frame.to_ndarray(format="rgb24"))
            if len(seen) == limit:
                break
    if len(seen) < 2:
        raise MidstreamError(f"{path.name}: expected two frames at least, got {len(seen)}")
    shots = [Shot(f"{path.name}#{i}", picture) for i, picture in enumerate(seen)]
    change = np.diff([np.asarray(Image.fromarray(p).resize(SMALL), np.int16) for p in seen], axis=0)
    camera = STATIC if np.median(np.abs(change)) < STILL else MOVING
    return Clip(path.stem, Scene(split, shots), camera)
