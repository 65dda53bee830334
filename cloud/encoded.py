"""Pixels as JPEG, PNG and WebP."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from common.errors import BitstreamError

Options = dict[str, dict[str, int]]
"""What Pillow is told, by form."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

# Visibly without loss beside what the codec took away; a mask's edges must not ring at all.
_PHOTO: Options = {"jpeg": {"quality": 92}, "png": {"compress_level": 3}, "webp": {"quality": 90, "method": 2}}
_DRAWING: Options = {"jpeg": {"quality": 95, "subsampling": 0}, "png": {"optimize": True}, "webp": {"lossless": True}}

_COLOURS = ((0, 0, 0), (255, 140, 60), (60, 160, 255), (110, 210, 90), (220, 90, 200), (240, 210, 60))
"""Of a mask's classes, the background first."""


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


def again(data: bytes, pixels: int, form: str) -> bytes:
    """A picture from an edge in another form, upright. Raises BitstreamError unless it has just so many pixels."""
    try:
        # Only the header so far: nothing of a size that was not expected is ever allocated.
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height != pixels:
                raise BitstreamError(f"picture: expected {pixels} pixels, got {image.width}x{image.height}")
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise BitstreamError(f"picture: expected one that can be decoded, got {e}") from e
    return _file(upright, form, _PHOTO)


def _file(image: Image.Image, form: str, options: Options) -> bytes:
    out = io.BytesIO()
    image.save(out, form.upper(), **options[form])
    return out.getvalue()
