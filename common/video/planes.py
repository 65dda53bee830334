"""A frame as the video codec has it, 8-bit 4:2:0, and as networks take it: cells of 4 x 4 pixels."""

from typing import NamedTuple, Self

import av
import numpy as np
from numpy.typing import NDArray

from common.codec import _kernel

Picture = NDArray[np.uint8]
Samples = NDArray[np.uint8]
Cells = NDArray[np.int16]

CELL = 4
"""Pixels of a cell, each way."""
CHANNELS = 24
"""Of a cell: 16 samples of luma, 4 of each chroma."""


class Planes(NamedTuple):
    """Luma [H, W] and chroma [H/2, W/2], H and W even."""

    y: Samples
    u: Samples
    v: Samples

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Of a frame in yuv420p."""
        height, width = frame.height, frame.width
        flat: Samples = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8).reshape(-1)
        luma, half = height * width, (height // 2, width // 2)
        u, v = flat[luma : luma * 5 // 4], flat[luma * 5 // 4 :]
        return cls(flat[:luma].reshape(height, width), u.reshape(half), v.reshape(half))

    def frame(self) -> av.VideoFrame:
        """In yuv420p."""
        flat = np.concatenate([plane.reshape(-1) for plane in self])
        return av.VideoFrame.from_ndarray(flat.reshape(-1, self.y.shape[1]), format="yuv420p")

    @property
    def checksum(self) -> int:
        """CRC32C of all samples."""
        found = 0
        for plane in self:
            found = _kernel.crc32c(np.ascontiguousarray(plane).tobytes(), found)
        return found

    def error(self, other: "Planes") -> int:
        """Sum of squared differences."""
        differences = (a.astype(np.int64) - b for a, b in zip(self, other, strict=True))
        return sum(int((d * d).sum()) for d in differences)


def of_picture(picture: Picture) -> Planes:
    """Of [H, W, 3] RGB; the last row and column are doubled where sides are odd."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return Planes.of(av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p"))


def to_picture(planes: Planes, width: int, height: int) -> Picture:
    """To [height, width, 3] RGB."""
    rgb: Picture = np.asarray(planes.frame().to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(rgb[:height, :width])


def cells_of(planes: Planes) -> Cells:
    """[24, rows, columns] of cells, less 128; beyond the frame the edge is repeated."""
    parts = []
    for plane, size in zip(planes, (CELL, CELL // 2, CELL // 2), strict=True):
        wide = np.pad(plane, [(0, -side % size) for side in plane.shape], "edge").astype(np.int16) - 128
        rows, columns = wide.shape[0] // size, wide.shape[1] // size
        parts.append(wide.reshape(rows, size, columns, size).transpose(1, 3, 0, 2).reshape(-1, rows, columns))
    return np.concatenate(parts)


def moved(planes: Planes, change: NDArray[np.signedinteger]) -> Planes:
    """The planes with a change [24, rows, columns] of their cells added."""
    found, at = [], 0
    for plane, size in zip(planes, (CELL, CELL // 2, CELL // 2), strict=True):
        rows, columns = change.shape[1:]
        own = change[at : at + size * size].reshape(size, size, rows, columns).transpose(2, 0, 3, 1)
        whole = own.reshape(rows * size, columns * size)[: plane.shape[0], : plane.shape[1]]
        found.append(np.clip(plane + whole, 0, 255).astype(np.uint8))
        at += size * size
    return Planes(*found)
