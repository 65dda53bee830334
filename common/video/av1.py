"""The video codec: AV1 without delay, encoded by SVT-AV1 and decoded by dav1d.

Both are BSD-licensed, and AV1's patents are licensed to everybody, which x265 (GPL) and HEVC are not. What a decoder
makes of the bytes is the same everywhere: AV1 is specified to the last bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from os import sched_getparam, sched_getscheduler, sched_setscheduler

import av

from common.codec.container import check
from common.errors import BitstreamError
from common.video.planes import Planes

PRESET = "6"


class Encoder:
    """Frames of one size in order; each after those before it, but for key frames, one in `period`."""

    def __init__(self, width: int, height: int, quantiser: int, period: int) -> None:
        """Even sides."""
        self._context = av.CodecContext.create("libsvtav1", "w")
        self._context.width, self._context.height, self._context.pix_fmt = width, height, "yuv420p"
        self._context.time_base, self._context.framerate = Fraction(1, 25), Fraction(25)
        self._context.thread_count = 1
        parameters = f"pred-struct=1:lp=1:keyint={period}"
        self._context.options = {"preset": PRESET, "crf": str(quantiser), "svtav1-params": parameters}
        self._count = 0

    def encode(self, planes: Planes) -> list[bytes]:
        """The temporal units that are ready: most often that of this frame."""
        frame = planes.frame()
        frame.pts = self._count
        self._count += 1
        with _ordinary_priority():
            return [bytes(packet) for packet in self._context.encode(frame)]

    def finish(self) -> list[bytes]:
        """The rest of them."""
        with _ordinary_priority():
            return [bytes(packet) for packet in self._context.encode(None)]


class Decoder:
    """Temporal units in order, from a key frame on."""

    def __init__(self, width: int, height: int) -> None:
        """Of a video of this size; larger frames are not even allocated."""
        self._size = width, height
        context = av.CodecContext.create("libdav1d", "r")
        assert isinstance(context, av.VideoCodecContext)
        self._context = context
        self._context.thread_count = 1
        self._context.options = {"max_pixels": str(max(width * height, 1 << 10))}

    def decode(self, data: bytes) -> Planes:
        """The frame of a temporal unit. Raises BitstreamError."""
        try:
            frames = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            raise BitstreamError(f"enhancement: expected a temporal unit of AV1, got {error}") from error
        check(len(frames) == 1, "enhancement", "one frame", len(frames))
        frame = frames[0]
        got = frame.width, frame.height
        check(got == self._size, "frame", "{} x {}".format(*self._size), "{} x {}".format(*got))
        check(frame.format.name == "yuv420p", "frame", "yuv420p", frame.format.name)
        return Planes.of(frame)


@contextmanager
def _ordinary_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does where it may: as root it gives its caller, and so all it starts, real-time priority."""
    policy, parameters = sched_getscheduler(0), sched_getparam(0)
    try:
        yield
    finally:
        sched_setscheduler(0, policy, parameters)
