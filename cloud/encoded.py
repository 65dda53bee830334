"""Pixels as JPEG, PNG and WebP."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from common.errors import BitstreamError
from common.payload.picture import to_rgb

Options = dict[str, dict[str, int]]
"""What Pillow is told, by form."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

MOST_PIXELS = 1 << 26
"""Of a picture that is made over: it is whole in memory."""
_MOST_SIDE = {"jpeg": 65500, "png": 2**31 - 1, "webp": 16383}
"""Pixels a side, by form: what the form or its library has room for."""

# Visibly without loss beside what the codec took away; a mask's edges must not ring at all.
_PHOTO: Options = {"jpeg": {"quality": 92}, "png": {"compress_level": 3}, "webp": {"quality": 90, "method": 2}}
_DRAWING: Options = {"jpeg": {"quality": 95, "subsampling": 0}, "png": {"optimize": True}, "webp": {"lossless": True}}

_COLOURS = ((0, 0, 0), (255, 140, 60), (60, 160, 255), (110, 210, 90), (220, 90, 200), (240, 210, 60))
"""Of a mask's classes, the background first."""


def fitting(width: int, height: int) -> tuple[str, ...]:
    """The forms that a picture of so many pixels can be made into."""
    if width * height > MOST_PIXELS:
        return ()
    return tuple(form for form, most in _MOST_SIDE.items() if max(width, height) <= most)


def photo(pixels: NDArray[np.uint8], form: str) -> bytes:
    """RGB [h, w, 3] as a file of this form."""
    return _file(Image.fromarray(pixels), form, _PHOTO)


def mask(classes: NDArray[np.uint8], form: str) -> bytes:
    """Class indices [h, w], 0 the background, in colours. A PNG has the indices themselves, the background clear."""
    image = Image.fromarray(classes).convert("L")
    image.putpalette([value for colour in _COLOURS for value in colour])
    if form != "png":
        return _file(image.convert("RGB"), form, _DRAWING)
    image.info["transparency"] = 0
    return _file(image, form, _DRAWING)


def again(data: bytes, size: tuple[int, int], form: str) -> bytes:
    """A picture from an edge in another form, upright. Raises BitstreamError unless it has these sides, either way."""
    return _file(upright(data, size), form, _PHOTO)


def upright(data: bytes, size: tuple[int, int]) -> Image.Image:
    """A picture as RGB, as the edge saw it. Raises BitstreamError unless it has these sides, either way."""
    try:
        # Only the header so far: nothing of a size that was not expected is ever allocated.
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            if sorted(image.size) != sorted(size) or not fitting(*size):
                raise BitstreamError(f"picture: expected {size[0]}x{size[1]} pixels, got {image.width}x{image.height}")
            # As at the edge, which heeds the orientation of a JPEG alone: there the boxes of its detections come from.
            return to_rgb(ImageOps.exif_transpose(image) if image.format == "JPEG" else image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise BitstreamError(f"picture: expected one that can be decoded, got {e}") from e


def _file(image: Image.Image, form: str, options: Options) -> bytes:
    out = io.BytesIO()
    image.save(out, form.upper(), **options[form])
    return out.getvalue()
