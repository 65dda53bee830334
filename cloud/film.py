"""Pictures as a video file: VP9 in MP4, which every current browser plays without special hardware.

H.264 is as widely played, but its encoder is under the GPL and its patents are licensed; AV1 needs new hardware in
Safari, and SVT-AV1 gives the process that runs it real-time priority where it may. libvpx is under a BSD licence.
"""

from fractions import Fraction
from math import sqrt
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from common.errors import MidstreamError

MOST_PIXELS = 1920 * 1080
MOST_SIDE = 4096
MOST_BYTES = 256 * 1024 * 1024
"""Of a film's pixels, of each side, and of the file."""
_LEAST_SIDE = 16
_NEAR = 0.02
"""A picture that has almost the film's size, by this part, is not made over: that would only soften it."""
_CLOCK = Fraction(1, 1000)
_LAST_MS = 1000
"""How long the only picture of a film is shown."""
_OPTIONS = {
    "crf": "30",
    "b": "0",
    "deadline": "realtime",
    "cpu-used": "7",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "threads": "1",
    "g": "60",
}


class TooLargeError(MidstreamError):
    """The file would be larger than it may be."""


def size_of(width: int, height: int) -> tuple[int, int]:
    """A film's width and height, even, for pictures of these sides: smaller ones for large pictures."""
    scale = min(1.0, sqrt(MOST_PIXELS / (width * height)), MOST_SIDE / max(width, height))
    across, down = (max(_LEAST_SIDE, round(side * scale)) for side in (width, height))
    return across + across % 2, down + down % 2


def fitted(picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, float]:
    """The picture, made as large as the film if it is of another size, and by how much its sides grew."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    if abs(scale - 1) <= _NEAR and picture.width <= size[0] and picture.height <= size[1]:
        return picture, 1.0
    across, down = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((across, down), Image.Resampling.BILINEAR, reducing_gap=2.0), scale


class Film:
    """One file that grows by a picture at a time; `end` it, or it cannot be played."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        """`size`: from `size_of`."""
        self.size = size
        self._path = path
        self._out = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        # The rate is only what the encoder expects; when each picture is shown, its own time says.
        stream = self._out.add_stream("libvpx-vp9", rate=10, options=_OPTIONS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _CLOCK
        self._stream = stream
        self._last: list[int] = []

    def add(self, picture: Image.Image, at_ms: int) -> None:
        """A picture no larger than the film, in its middle, `at_ms` after the first: later than the one before.

        Raises TooLargeError.
        """
        if picture.size != self.size:
            black = Image.new("RGB", self.size)
            black.paste(picture, ((self.size[0] - picture.width) // 2, (self.size[1] - picture.height) // 2))
            picture = black
        frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
        frame.pts, frame.time_base = at_ms, _CLOCK
        self._last = [*self._last[-1:], at_ms]
        self._write(self._stream.encode(frame))
        if self._path.stat().st_size > MOST_BYTES:
            raise TooLargeError(f"the clip is larger than {MOST_BYTES >> 20} MiB")

    def end(self) -> None:
        """Finish the file. The last picture is shown as long as the one before it."""
        if self._last:
            self._write(self._stream.encode(None))
        self._out.close()

    def _write(self, packets: list[Any]) -> None:
        for packet in packets:
            if packet.pts == self._last[-1]:  # of all but the last one the file has the time of the next instead
                packet.duration = self._last[-1] - self._last[0] if len(self._last) > 1 else _LAST_MS
            self._out.mux(packet)
