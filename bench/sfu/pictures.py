"""The pictures that a sequence's labels are for: folders of them, videos, raw 4:2:0 as the HEVC sequences are."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np

from bench.accuracy.scene import VIDEOS
from bench.accuracy.scene import frames as video_frames
from bench.pictures import SUFFIXES, Picture, read
from bench.sfu.files import Sequence, size_of
from common.errors import MidstreamError

RAW = ".yuv"


def found(video: Path, sequence: Sequence, alone: bool) -> Path:
    """Where a sequence's pictures are: `video` itself if it is a file, else what is called like it below that folder.

    That is, like the sequence's folder or its label files, whatever comes behind. Raises MidstreamError.
    """
    if not video.is_dir():
        if not alone:
            raise MidstreamError(f"{video} is one video, but there are several sequences: name a folder of them")
        return video
    named = [path for path in sorted(video.rglob("*")) if _is_of(path, sequence)]
    if not named:
        raise MidstreamError(
            f"{video} holds no folder of pictures and no video called {sequence.name} or {sequence.stem}"
        )
    return named[0]


def _is_of(path: Path, sequence: Sequence) -> bool:
    if path.is_dir():
        if not any(file.suffix.lower() in SUFFIXES for file in path.iterdir()):
            return False
    elif path.suffix.lower() not in {RAW, *VIDEOS}:
        return False
    own = path.name if path.is_dir() else path.stem
    if own == sequence.name or own == sequence.stem.removesuffix("_seq"):
        return True
    # As in Cactus_1920x1080_50: nothing but size and rate behind the name.
    return re.fullmatch(re.escape(sequence.name) + r"_\d+x\d+.*", own) is not None


def pictures(path: Path, limit: int | None = None) -> Iterator[Picture]:
    """The first `limit` of a sequence's pictures [H, W, 3] RGB, in order. Raises MidstreamError."""
    if path.is_dir():
        files = sorted((p for p in path.iterdir() if p.suffix.lower() in SUFFIXES), key=natural)
        every = (read(file, stored=True) for file in files)
    elif path.suffix.lower() == RAW:
        every = raw(path)
    else:
        every = (frame.to_ndarray(format="rgb24") for frame in video_frames(path))
    yield from islice(every, limit)


def natural(path: Path) -> list[str | int]:
    """For sorting: 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def raw(path: Path) -> Iterator[Picture]:
    """Frames of 8 bits and 4:2:0, whose size the file's name says. Raises MidstreamError."""
    size = size_of(path.stem)
    if size is None:
        raise MidstreamError(f"{path.name}: raw video says its size in its name, as in Cactus_1920x1080_50.yuv")
    width, height = size
    rows = height * 3 // 2
    with path.open("rb") as file:
        while data := file.read(width * rows):
            if len(data) < width * rows:
                raise MidstreamError(f"{path.name} ends inside a frame of {width}x{height}")
            planes = np.frombuffer(data, np.uint8).reshape(rows, width)
            yield av.VideoFrame.from_ndarray(planes, format="yuv420p").to_ndarray(format="rgb24")
