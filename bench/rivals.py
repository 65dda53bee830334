"""What people would do instead: code the picture, and let the cloud run the whole network on what was decoded.

A rival is a row of `RIVALS`; a new one needs an encoder, a decoder and a ladder of qualities. All of them code one
picture by itself, from and to uint8 [H,W,3] RGB, as 4:2:0 and on one thread.

What counts is what a decoder needs for this picture. Left out, in the rivals' favour: file containers (JFIF, RIFF), and
the parameter sets of HEVC and AV1, which a camera would send once, as our tables are in the bundle.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.settings import hush_encoders

Picture = NDArray[np.uint8]


class Rival(NamedTuple):
    """Codes pictures."""

    encode: Callable[[Picture, int], bytes]
    """A picture at a quality to everything a decoder needs."""
    decode: Callable[[bytes], Picture]
    """Back; a row or column more than went in where the codec wants even sizes."""
    counted: Callable[[bytes], int]
    """How many of the bytes count."""
    ladder: tuple[int, ...]
    """Qualities from coarse to fine, each some 20 to 40 % more bytes than the one before."""


def pillow(kind: str, quality: int, picture: Picture, **options: object) -> bytes:
    """A file of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=quality, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Picture:
    """The picture in a file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def video(encoder: str, options: dict[str, str], picture: Picture, pixels: str = "yuv420p") -> bytes:
    """A picture as the only frame of a stream. 4:2:0 wants even sizes: the last row and column are doubled."""
    hush_encoders()
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    context = av.CodecContext.create(encoder, "w")
    context.height, context.width = even.shape[:2]
    context.pix_fmt, context.time_base, context.thread_count = pixels, Fraction(1, 25), 1
    context.options = options
    frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format=pixels)
    with ordinary_priority():
        return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


@contextlib.contextmanager
def ordinary_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does where it may: as root it gives its caller, and so all it starts, real-time priority."""
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)


def played(decoder: str, data: bytes) -> Picture:
    """The only frame of a stream."""
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    (frame,) = (*context.decode(av.Packet(data)), *context.decode(None))
    return frame.to_ndarray(format="rgb24")


def x265(picture: Picture, crf: int) -> bytes:
    """HEVC intra, x265's default effort; for squared error, as its psycho-visual settings are for eyes."""
    params = "keyint=1:info=0:pools=none:frame-threads=1:log-level=none"
    return video("libx265", {"preset": "medium", "tune": "psnr", "crf": str(crf), "x265-params": params}, picture)


def av1(picture: Picture, crf: int) -> bytes:
    """AV1 intra as in AVIF, by SVT-AV1."""
    return video("libsvtav1", {"preset": "6", "crf": str(crf), "svtav1-params": "avif=1:lp=1"}, picture)


def slices(data: bytes) -> int:
    """Bytes of an HEVC stream's slices, start codes included; without parameter sets."""
    units = re.split(b"\0?\0\0\1", data)[1:]
    return sum(4 + len(unit) for unit in units if unit[0] >> 1 & 63 < 32)


def frames(data: bytes) -> int:
    """Bytes of an AV1 stream without its temporal delimiter and sequence header: two short units at its start."""
    at = 0
    while data[at] >> 3 in (1, 2):
        at += 2 + data[at + 1]
    return len(data) - at


RIVALS: dict[str, Rival] = {
    "jpeg": Rival(
        lambda picture, quality: pillow("JPEG", quality, picture, optimize=True, subsampling="4:2:0"),
        opened,
        lambda data: len(data) - 18,  # JFIF's own segment
        (2, 5, 9, 15, 24, 36, 52, 68, 80, 88, 94, 98),
    ),
    "webp": Rival(
        lambda picture, quality: pillow("WEBP", quality, picture, method=6),
        opened,
        lambda data: len(data) - 20,  # RIFF, WEBP and the chunk's name and length
        (0, 3, 9, 19, 34, 54, 74, 84, 91, 96, 99),
    ),
    "x265": Rival(
        x265,
        lambda data: played("hevc", data),
        slices,
        (51, 47, 43, 39, 35, 31, 27, 23, 19, 15, 11),
    ),
    "av1": Rival(
        av1,
        lambda data: played("libdav1d", data),
        frames,
        (63, 58, 53, 48, 43, 38, 33, 28, 23, 18, 12, 7),
    ),
}
"""Name -> how. JPEG with tables made for the picture, WebP at its highest effort, x265 and AV1 at their usual one."""
