"""The picture as it travels in mode `image`: one JPEG of what the network would see of it, without the border.

JPEG and not something smaller: this mode is for an edge that has no time and a link that has room. On a small machine
JPEG takes a tenth of the front half's time, WebP several times as much for a quarter fewer bytes.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from common.codec import Layer
from common.codec.container import Kind, check
from common.errors import BitstreamError
from common.geometry import Letterbox

Pixels = NDArray[np.uint8]
_SCAN = b"\xff\xda"


def content_size(box: Letterbox) -> tuple[int, int]:
    """Width and height of the picture as it travels: as the network sees it, but not enlarged."""
    return min(box.width, box.picture_w), min(box.height, box.picture_h)


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Bilinear, [height, width, 3]."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def to_rgb(image: Image.Image) -> Image.Image:
    """Whatever Pillow has read as RGB of eight bits."""
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    # 16-bit grey: Pillow would clip at 255 what has to be divided by 257.
    wide = np.asarray(image).astype(np.float32) / 257
    return Image.fromarray(np.clip(wide + 0.5, 0, 255).astype(np.uint8)).convert("RGB")


def place(content: Pixels, box: Letterbox, size: int, pad: int) -> Pixels:
    """The content [h, w, 3], enlarged if it is smaller than its place, in the network's input [size, size, 3]."""
    out = np.full((size, size, 3), pad, np.uint8)
    out[box.top : box.top + box.height, box.left : box.left + box.width] = resize(content, box.width, box.height)
    return out


class PictureCodec:
    """Codec 3 of docs/bitstream.md. Quality is JPEG's, 1 to 100."""

    name: ClassVar[str] = "picture"
    id: ClassVar[int] = 3
    qualities = range(1, 101)
    default_quality = 75

    def encode(self, content: Pixels, quality: int) -> list[Layer]:
        """Upright RGB [h, w, 3] of `content_size` to one base layer."""
        pixels = np.ascontiguousarray(content)
        return [Layer(Kind.BASE, simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420"))]

    def decode(self, layers: Sequence[Layer], box: Letterbox) -> Pixels:
        """The base layer to RGB [h, w, 3]. Raises BitstreamError unless it is a JPEG of just `content_size`."""
        check([x.kind for x in layers] == [Kind.BASE], "layers", "one base layer", [x.kind for x in layers])
        data = layers[0].payload
        check(data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9", "picture", "a whole JPEG", data[:2].hex())
        expected = content_size(box)
        try:
            # Only the header, so nothing of a size that was not expected is ever allocated.
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            check((width, height) == expected, "picture", f"{expected[0]}x{expected[1]} pixels", f"{width}x{height}")
            # A progressive one could ask for thousands of passes over the picture.
            check(data.count(_SCAN) == 1, "picture", "one scan", data.count(_SCAN))
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError as e:
            raise BitstreamError(f"picture: expected a JPEG that can be decoded, got {e}") from e
        return pixels
