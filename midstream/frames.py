"""Frames to send: the user's image, folder or video, or the photos the demo brings along.

A frame is compressed bytes with a name: images travel exactly as they are on disk, video frames as JPEG.
"""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from common.errors import MidstreamError

IMAGES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"}
JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One picture ready to be posted."""

    name: str
    camera: str
    data: bytes
    content_type: str
    captured_us: int | None = None
    """Of a video: when it would have been captured, had it begun just now. None: unknown."""


def read(path: Path, camera: str | None = None) -> Iterator[SourceFrame]:
    """The frames of an image, a folder (sorted by name) or a video. Raises MidstreamError if there are none."""
    if not path.exists():
        raise MidstreamError(f"{path} does not exist. Give an image, a folder of images or a video.")
    if path.is_dir():
        return _folder(path, camera or path.name)
    if path.suffix.lower() in IMAGES:
        return iter([_image(path, camera or "photos")])
    if is_video(path):
        return video(path, camera or path.stem)
    raise MidstreamError(f"{path.name} is neither an image ({', '.join(IMAGES)}) nor a video ({', '.join(VIDEOS)}).")


def _folder(path: Path, camera: str) -> Iterator[SourceFrame]:
    files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in IMAGES | dict.fromkeys(VIDEOS, "")]
    if not files:
        raise MidstreamError(f"{path} holds no image ({', '.join(IMAGES)}) and no video.")
    for file in files:
        yield from ([_image(file, camera)] if file.suffix.lower() in IMAGES else video(file, file.stem))


def _image(path: Path, camera: str) -> SourceFrame:
    return SourceFrame(path.name, _camera_name(camera), path.read_bytes(), IMAGES[path.suffix.lower()])


def is_video(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in VIDEOS


def video(path: Path, camera: str, every: int = 1, fps: float | None = None) -> Iterator[SourceFrame]:
    """Every `every`-th frame of a video, at most `fps` a second of its time, as JPEG.

    Raises MidstreamError if it cannot be decoded.
    """
    from edge.streams import still
    from edge.streams.address import Address, Kind
    from edge.streams.clock import Rate, Recorded
    from edge.streams.reader import SourceError, Video

    clock, rate, began = Recorded(), Rate(fps), time.time()
    try:
        with Video(Address(Kind.FILE, str(path), path.name)) as opened:
            for i, frame in enumerate(opened.frames()):
                at = clock.at(frame.time, opened.interval)
                if i % every == 0 and rate.due(at):
                    captured = round((began + at) * 1e6)
                    yield SourceFrame(
                        f"{path.name}#{i}", _camera_name(camera), still.jpeg(frame), "image/jpeg", captured
                    )
    except SourceError as e:
        raise MidstreamError(f"{path.name} cannot be played: {e}") from e


def length(path: Path, fps: float | None = None) -> int | None:
    """About how many frames `video` gives; None if the file does not say."""
    from edge.streams.address import Address, Kind
    from edge.streams.reader import SourceError, Video

    try:
        with Video(Address(Kind.FILE, str(path), path.name)) as opened:
            seconds, interval = opened.seconds, opened.interval
    except SourceError as e:
        raise MidstreamError(f"{path.name} cannot be played: {e}") from e
    return None if seconds is None else max(1, round(seconds * min(1 / interval, fps or 240)))


def jpeg(image: object, name: str, camera: str, quality: int = JPEG_QUALITY) -> SourceFrame:
    """A PIL image as a frame."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return SourceFrame(name, _camera_name(camera), buffer.getvalue(), "image/jpeg")


def _camera_name(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)[:64] or "default"


def packaged() -> Iterator[SourceFrame]:
    """Photos that scikit-image and matplotlib carry in their wheels, and a pan over one as a short video."""
    from PIL import Image

    photos = {
        "skimage.data": ["astronaut.png", "chelsea.png", "motorcycle_left.png", "coffee.png"],
        "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
    }
    for package, names in photos.items():
        for name in names:
            with resources.as_file(resources.files(package) / name) as path:
                yield jpeg(Image.open(path), path.name, "photos")
    with resources.as_file(resources.files("skimage.data") / "motorcycle_right.png") as path:
        yield from _pan(Image.open(path), "pan", count=24)


def _pan(image: object, camera: str, count: int) -> Iterator[SourceFrame]:
    """A window of 640×480 moving over a photo, left to right: what a panning camera sees."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    scale = max(480 / image.height, 800 / image.width)
    wide = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
    for i in range(count):
        x = round(i * (wide.width - 640) / (count - 1))
        yield jpeg(wide.crop((x, 0, x + 640, 480)), f"pan#{i}", camera)
