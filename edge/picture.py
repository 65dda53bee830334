"""Compressed picture in, network input out: JPEG, PNG, WebP.

What will bite: a header can claim any size, so sizes are read and judged before anything is decoded. A JPEG is
decoded at the smallest eighth of its size that is still large enough. What the Exif tag says about orientation
is applied, so width and height here are those a person sees.
"""

import contextlib
import io
import re
import struct
import threading
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from common.errors import FrameError
from common.geometry import Fit, Letterbox, letterbox_geometry
from common.payload.picture import content_size, place, resize, to_rgb

MAX_SIDE = 65535
"""What the container has room for."""
MAX_SCANS = 100
"""Of a JPEG that has several. Encoders write about ten; each costs the decoder a pass over the whole picture."""
LARGE_PIXELS = 4_000_000
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_PASSED_OVER = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE))
"""Tables, what applications add, comments. Not those without a length: TEM (01), RST (D0 to D7), another SOI (D8)."""
_MAX_SEGMENTS = 1000
"""Before the first scan. A profile has 255 at most, and 12 MiB of full ones are 192."""
_FILL = re.compile(rb"\xff{1,256}")
"""A marker may begin with any number of these; who writes more wants it to take long."""
_ORIENTATION, _SHORT = 0x0112, 3
_large = threading.Lock()
"""Held while a large picture is whole in memory, so that there is one at a time."""

Image.init()


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of a picture say. Width and height as stored, before orientation."""

    format: str
    width: int
    height: int
    orientation: int = 1
    plain: bool = False
    """A JPEG of one or three components: the fast decoder takes it."""
    rows: bool = False
    """It can be decoded a few rows at a time; others are whole in memory first."""

    @property
    def content_type(self) -> str:
        """The media type, by what the bytes are rather than by what the request called them."""
        return f"image/{self.format}"

    @property
    def turned(self) -> bool:
        """Whether the orientation swaps width and height."""
        return self.orientation >= 5

    @property
    def seen(self) -> tuple[int, int]:
        """Width and height after orientation."""
        return (self.height, self.width) if self.turned else (self.width, self.height)


def sniff(data: bytes) -> str:
    """jpeg, png or webp, by the first bytes. Raises FrameError 415."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise FrameError(415, "this is not a picture the edge reads; send JPEG, PNG or WebP")


def read_header(data: bytes, max_pixels: int) -> Header:
    """The header, judged. Raises FrameError 415 or 422; decodes nothing."""
    kind = sniff(data)
    try:
        header = {"jpeg": _jpeg_header, "png": _png_header, "webp": _webp_header}[kind](data)
    except (struct.error, IndexError, ValueError) as e:
        raise FrameError(422, f"the {kind.upper()} header is cut short or damaged; send the whole file") from e
    if header.width < 1 or header.height < 1:
        raise FrameError(422, f"the picture says it is {header.width}x{header.height} pixels; it must have some")
    if max(header.width, header.height) > MAX_SIDE or header.width * header.height > max_pixels:
        raise FrameError(
            422,
            f"the picture says it is {header.width}x{header.height} pixels: refused undecoded as a decompression bomb; "
            f"scale it down to {max_pixels} pixels and {MAX_SIDE} a side, or raise MIDSTREAM_EDGE_MAX_PIXELS",
        )
    return header


def _jpeg_header(data: bytes) -> Header:
    """Walk the segments to the first scan; on the way, the frame header, and the orientation in an Exif segment.

    The decoder walks them, too, and by its own reading: a marker that has no length, or that it does not know, would
    lead this walk to another frame header than it finds. Only what both read the same way is passed over.
    """
    at, exif, frame = 2, b"", None
    for _ in range(_MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        if fill is None:
            raise ValueError("no marker where one must be")
        at = fill.end()
        marker, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        segment = data[at + 3 : at + 1 + length]
        if length < 2 or len(segment) != length - 2:
            raise ValueError("a segment is cut short")
        if marker in _FRAMES and frame is None:
            height, width, components = struct.unpack_from(">HHB", segment, 1)
            frame = marker, height, width, components
        elif marker == _SCAN and frame is not None:
            return _jpeg_of(data, *frame, segment[0], _orientation(exif))
        elif marker not in _PASSED_OVER:
            raise ValueError("a marker where it must not be")
        elif marker == 0xE1 and segment[:6] == b"Exif\0\0":
            exif = exif or segment
        at += 1 + length
    raise ValueError("too many segments")


def _jpeg_of(
    data: bytes, marker: int, height: int, width: int, components: int, first_scan: int, orientation: int
) -> Header:
    """`first_scan`: how many components that has. With all of them it is the only one, unless it is progressive."""
    rows = marker not in _PROGRESSIVE and first_scan == components
    if not rows and data.count(b"\xff\xda") > MAX_SCANS:
        raise FrameError(422, f"the JPEG has more than {MAX_SCANS} scans; send it with fewer")
    return Header("jpeg", width, height, orientation, components in (1, 3), rows)


def _orientation(exif: bytes) -> int:
    """The tag in the first directory. 1 where it is missing or makes no sense: that does not spoil a picture.

    Not by Pillow, which reads all tags and what each points to: that takes a full segment 30 ms.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[6:10])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 10)
        (tags,) = struct.unpack_from(f"{order}H", exif, 6 + directory)
        for tag, kind, _, value in struct.iter_unpack(f"{order}HHIHxx", exif[8 + directory :][: 12 * tags]):
            if tag == _ORIENTATION and kind == _SHORT:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _png_header(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    return Header("png", *struct.unpack_from(">II", data, 16))


def _webp_header(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (x & 0x3FFF for x in struct.unpack_from("<HH", data, 26))
    else:
        raise ValueError("no image chunk")
    return Header("webp", width, height)


def decode(data: bytes, header: Header, size: int, pad: int, fit: Fit = "letterbox") -> NDArray[np.uint8]:
    """The picture in the network's input, uint8 [size, size, 3], the border `pad`.

    Raises FrameError 422 if the data does not keep what its header promises.
    """
    box = letterbox_geometry(*header.seen, size, fit)
    return place(decode_content(data, header, box), box, size, pad)


def decode_content(data: bytes, header: Header, box: Letterbox) -> NDArray[np.uint8]:
    """The picture upright and as large as its place in the network's input, or as it is if that is smaller.

    Raises FrameError 422 if the data does not keep what its header promises.
    """
    width, height = content_size(box)
    stored = (height, width) if header.turned else (width, height)
    alone = header.width * header.height > LARGE_PIXELS and not (header.plain and header.rows)
    try:
        with _large if alone else contextlib.nullcontext():
            pixels = (_decode_jpeg if header.plain else _decode_pillow)(data, header, stored)
    except (ValueError, OSError, SyntaxError, struct.error, EOFError, MemoryError) as e:
        raise FrameError(422, f"the {header.format.upper()} is cut short or damaged: {e}") from e
    return _upright(resize(pixels, *stored), header.orientation)


def decode_whole(data: bytes, header: Header) -> NDArray[np.uint8]:
    """All of the picture: upright RGB, uint8 [h, w, 3], however large the network's input is.

    Raises FrameError 422 if the data does not keep what its header promises.
    """
    whole = letterbox_geometry(*header.seen, max(header.seen))
    return np.ascontiguousarray(decode_content(data, header, whole))


def _decode_jpeg(data: bytes, header: Header, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)  # the decoder's own reading, before it allocates anything
    if (width, height) != (header.width, header.height):
        raise ValueError("its parts disagree about its size")
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_width=size[0], min_height=size[1])
    return pixels


def _decode_pillow(data: bytes, header: Header, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Whatever else Pillow reads: the first frame, as RGB, already small if it was large."""
    with Image.open(io.BytesIO(data), formats=[header.format.upper()]) as image:
        if image.size != (header.width, header.height):
            raise ValueError("its parts disagree about its size")
        image.load()
        rgb = to_rgb(image)
        if size[0] < rgb.width or size[1] < rgb.height:
            rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(rgb)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the camera's rotation. Exif: 2 mirrored, 3 half turn, 4 flipped, 5 to 8 with a quarter turn."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
