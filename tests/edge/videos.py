"""Real videos, of a few small frames."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from tests.edge.pictures import scene

RATE = 25


def write(
    path: Path, pictures: Iterable[Image.Image], rate: int = RATE, codec: str = "libx264", begin: int = 0
) -> Path:
    """H.264 in the container that the suffix says; the first frame's number is `begin`."""
    with av.open(str(path), "w") as out:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=rate)
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
                stream.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency"}
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = begin + number, Fraction(1, rate)
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode(None))
    return path


def changing(count: int, size: tuple[int, int] = (160, 120)) -> list[Image.Image]:
    """Every frame another picture."""
    return [scene(*size, seed=number) for number in range(count)]


def still(count: int, size: tuple[int, int] = (160, 120)) -> list[Image.Image]:
    """The same picture all the time."""
    return [scene(*size)] * count
