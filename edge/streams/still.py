"""One frame of video as a JPEG: what the ring keeps, and what the network's input is made of.

Why not hand the frame's pixels to the network as they are? Because the ring needs the JPEG in any case, and all that
is coded later on request builds on it; and because of the time there is nothing to gain: of a 720p frame the network's
input costs 1.6 ms of a processor out of the JPEG, decoded at half its size, and 1.2 ms out of the frame itself.
"""

import numpy as np
import simplejpeg
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from edge.streams.motion import COLUMNS, ROWS, Grey

QUALITY = 85
"""Of JPEG. What the network finds no longer depends on it: against the frames' own pixels the embedded detector's AP50
is .966 at 75, .969 at 85 and .971 at 95, in 14 frames of a street in 720p (and .992 at each in 14 of a bicycle race);
what is left is how pictures are made small. Above that, only the ring would fill sooner."""
_HD_LINES = 720
"""From here up, colours that are not named are those of BT.709; below, of BT.601."""


def jpeg(frame: VideoFrame, quality: int = QUALITY) -> bytes:
    """The frame, upright, 4:2:0. JPEG's colours are BT.601 of full range; video's seldom are."""
    source = Colorspace.ITU709 if frame.colorspace == _UNNAMED and frame.height >= _HD_LINES else None
    full = frame.reformat(
        format="yuvj420p",
        src_colorspace=source,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
    )
    turns = round(frame.rotation / 90) % 4
    planes = [np.ascontiguousarray(np.rot90(_pixels(plane), turns)) for plane in full.planes]
    coded: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=quality)
    return coded


_UNNAMED = 2
"""What frames say whose colour matrix nobody named."""


def _pixels(plane: VideoPlane) -> NDArray[np.uint8]:
    """[height, width], without what is behind each line."""
    lines: NDArray[np.uint8] = np.asarray(memoryview(plane)).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


def grey(frame: VideoFrame) -> Grey:
    """The frame in small, for motion.py: each cell the mean of its pixels."""
    small = frame.reformat(COLUMNS, ROWS, "gray", interpolation=Interpolation.AREA)
    return _pixels(small.planes[0]).copy()
