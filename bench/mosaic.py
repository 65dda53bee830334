"""The papers' rival: features as the tiles of one grey picture, coded by HEVC intra (x265).

Each tensor is quantised to 8 bits between its own least and greatest feature (or a clip that calibration chose), its
channels are laid side by side in a 4:0:0 picture as square as can be, and x265 codes that as one key frame at a
constant QP. Every other sophistication is left to HEVC, as in the papers; it gets the settings that serve mean
squared error best, because its psycho-visual ones are for eyes.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from bench.rivals import slices

Features = NDArray[np.float32]
Picture = NDArray[np.uint8]

QUALITIES = range(52)
"""QP; a lower one is better."""
GRAIN = 8
"""Pictures are whole coding units of the smallest size, so that no border has to be cropped."""
LEAST = 64
"""A side in pixels that every encoder takes."""
RANGE_BYTES = 8
"""Least and greatest feature of a tensor, as float32."""
SETTINGS = "keyint=1:ipratio=1:tskip=1:hash=1:info=0:log-level=none:pools=none:frame-threads=1"
"""One key frame, at the QP asked for and not some below it, with the MD5 of the picture that the encoder saw.

Transform skip is for blocks with the edges of tiles, as for screen content."""


def mosaic(
    features: Sequence[Features], qp: int, clips: Sequence[tuple[float, float]] | None = None
) -> tuple[int, list[Features]]:
    """Tensors [C, H, W] through HEVC at this QP: bytes, and the tensors as they come back.

    Counted are the coded slices and, without `clips`, eight bytes a tensor for its range. As with the picture rivals
    the parameter sets, the same for every frame, are not; nor is the MD5, which is there for us to check. Raises
    ValueError for a QP that HEVC does not have, a tensor without channels, rows or columns, or features that are not
    finite.
    """
    if qp not in QUALITIES:
        raise ValueError(f"qp: expected 0..51, got {qp}")
    ranges = clips or [(float(x.min()), float(x.max())) if x.size else (0.0, 0.0) for x in features]
    coded = [code(x, c_min, c_max, qp) for x, (c_min, c_max) in zip(features, ranges, strict=True)]
    side = 0 if clips else RANGE_BYTES * len(coded)
    return side + sum(size for size, _ in coded), [back for _, back in coded]


def code(x: Features, c_min: float, c_max: float, qp: int) -> tuple[int, Features]:
    """Bytes of one tensor's slices, and the tensor as it comes back."""
    if x.ndim != 3 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"features: expected finite [C, H, W], got shape {x.shape}")
    scale = (c_max - c_min) / 255 or 1.0  # a constant tensor is all zeros
    steps = np.floor((np.clip(x, c_min, c_max) - c_min) / scale + 0.5)
    stream = encode(tile(steps.astype(np.uint8)), qp)
    seen = untile(decode(stream), x.shape)
    back = (c_min + seen * scale).astype(np.float32)
    return slices(stream), back


def grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of tiles: as many columns as make the picture about square."""
    channels, height, width = shape
    columns = min(channels, max(1, round(math.sqrt(channels * height / width))))
    return -(-channels // columns), columns


def tile(x: Picture) -> Picture:
    """[C, H, W] to [rows * H, columns * W] and a little more. What is left over repeats its neighbours: it is cheap."""
    channels, height, width = x.shape
    rows, columns = grid(x.shape)
    full = np.concatenate([x, np.repeat(x[-1:], rows * columns - channels, axis=0)])
    flat = full.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    return np.pad(flat, [(0, max(LEAST, -(-side // GRAIN) * GRAIN) - side) for side in flat.shape], "edge")


def untile(picture: Picture, shape: tuple[int, ...]) -> Picture:
    """What `tile` made of this shape, back."""
    channels, height, width = shape
    rows, columns = grid(shape)
    flat = picture[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return flat.swapaxes(1, 2).reshape(rows * columns, height, width)[:channels]


def encode(picture: Picture, qp: int, extra: str = "") -> bytes:
    """[H, W] to an elementary stream of one key frame; `extra` are further settings of x265, ":name=value" each."""
    coder = av.CodecContext.create("libx265", "w")
    coder.height, coder.width = picture.shape
    coder.pix_fmt, coder.time_base = "gray", Fraction(1, 25)
    coder.options = {"preset": "slow", "tune": "psnr", "x265-params": f"qp={qp}:{SETTINGS}{extra}"}
    frame = av.VideoFrame.from_ndarray(picture, format="gray")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*coder.encode(frame), *coder.encode(None)))


def decode(stream: bytes) -> Picture:
    """The one picture of a stream. Raises av.error.InvalidDataError unless it is what the encoder saw, bit for bit."""
    coder = av.CodecContext.create("hevc", "r")
    coder.options = {"err_detect": "crccheck+explode"}  # compares the MD5
    coder.thread_count = 1
    (frame,) = (*coder.decode(av.Packet(stream)), *coder.decode(None))
    return np.asarray(frame.to_ndarray(), np.uint8)
