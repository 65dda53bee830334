"""The photos, their uncoded features and what the network finds in them uncoded: computed once, kept in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from bench.coco import listed
from bench.networks import Split
from bench.pictures import SUFFIXES, Picture, opened, thinned
from bench.score import Marks
from common.bundle import Bundle
from common.codec import Features, Window
from common.errors import MidstreamError
from common.geometry import Detections, Letterbox

if TYPE_CHECKING:
    from av import VideoFrame

VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"}

console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Shot:
    """A picture [H,W,3] and, if somebody marked it, its marks with labels counted as in the bundle."""

    name: str
    picture: Picture
    marks: Marks | None = None


class Scene:
    """Shots seen by one network. `features[i]` and `uncoded[i]` are what it makes of shot i when nothing is coded."""

    def __init__(self, split: Split, shots: Sequence[Shot]) -> None:
        """Run the network over at least one shot."""
        self.split, self.shots, self.bundle = split, list(shots), split.bundle
        watched = track(self.shots, "the network, uncoded", console=console, transient=True)
        self.features: list[list[Features]] = [split.cut(shot.picture) for shot in watched]
        self.uncoded: list[Detections] = [
            split.finish(f, shot.picture) for f, shot in zip(self.features, self.shots, strict=True)
        ]

    @property
    def classes(self) -> int:
        """How many labels the network has."""
        return len(self.bundle.manifest.detector.labels)

    @property
    def elements(self) -> int:
        """Values in the cut."""
        return sum(tensor.size for tensor in self.features[0])

    @property
    def marks(self) -> list[Marks] | None:
        """What people marked in each shot; None unless all of them were."""
        marks = [shot.marks for shot in self.shots if shot.marks is not None]
        return marks if len(marks) == len(self.shots) else None

    def box(self, i: int) -> Letterbox:
        """Where shot i lies in the network's input."""
        height, width = self.shots[i].picture.shape[:2]
        return self.bundle.manifest.input.box(width, height)

    def window(self, i: int) -> Window:
        """The same, as codecs take it."""
        height, width = self.shots[i].picture.shape[:2]
        return self.bundle.manifest.input.window(width, height)

    def at_network_size(self, i: int) -> Picture:
        """Shot i without a pixel more than the network uses. Cutting it again resizes nothing."""
        box = self.box(i)
        small = Image.fromarray(self.shots[i].picture).resize((box.width, box.height), Image.Resampling.BILINEAR)
        return np.asarray(small)


def listing(path: Path, bundle: Bundle, source: str | None = None, limit: int | None = None) -> list[Shot]:
    """The photos of a COCO JSON, with the boxes of the classes that the bundle knows by their COCO ids."""
    ids = bundle.manifest.detector.coco_ids
    photos = listed(path, ids, source)[:limit]
    if not photos:
        raise MidstreamError(f"{path} lists no photos")
    pictures = opened([photo.path for photo in photos], console, stored=bool(ids))
    return [Shot(photos[i].path.name, picture, photos[i].marks if ids else None) for i, picture in pictures]


def folder(path: Path, limit: int | None = None) -> list[Shot]:
    """The pictures of a folder or the frames of a video, without marks: `limit` of them, evenly spread."""
    if path.suffix.lower() in VIDEOS:
        return video(path, limit)
    if not path.is_dir():
        raise MidstreamError(f"{path} is neither a folder of pictures nor a video ({', '.join(sorted(VIDEOS))})")
    files = thinned(sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES), limit)
    if not files:
        raise MidstreamError(f"{path} holds no picture that can be read ({', '.join(sorted(SUFFIXES))})")
    return [Shot(files[i].name, picture) for i, picture in opened(files, console, stored=False)]


def video(path: Path, limit: int | None = None) -> list[Shot]:
    """Frames of a video. It is decoded twice: once to count them, once to keep the few."""
    wanted = set(thinned(range(sum(1 for _ in frames(path))), limit))
    if not wanted:
        raise MidstreamError(f"{path.name} shows no frame")
    return [
        Shot(f"{path.name}#{i}", frame.to_ndarray(format="rgb24"))
        for i, frame in enumerate(frames(path))
        if i in wanted
    ]


def frames(path: Path) -> Iterator["VideoFrame"]:
    """Every frame of a video. Raises MidstreamError if it cannot be decoded."""
    import av

    try:
        with av.open(str(path)) as container:
            yield from container.decode(video=0)
    except (av.FFmpegError, IndexError) as e:
        raise MidstreamError(f"{path.name} cannot be decoded as a video: {e}") from e
