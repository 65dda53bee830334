"""Boxes of what was found, drawn into a picture."""

import colorsys
from collections.abc import Iterable
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from cloud.store import Found

_TURN = 0.381966
"""Hues this part of a circle apart never come near each other soon: those of tracks that follow each other differ."""
_TEXT = 14
_LINE = 2
_LEAST = 0.3
"""Detections that score less are left out, as the live page does."""


def draw(picture: Image.Image, found: Iterable[Found], scale: float) -> None:
    """Into the picture: boxes in its pixels times `scale`, coloured by track, with label, track and score."""
    pen = ImageDraw.Draw(picture)
    for one in sorted(found, key=lambda d: float(d["score"])):
        if one["score"] >= _LEAST:
            _draw(pen, one, scale)


def _draw(pen: ImageDraw.ImageDraw, one: Found, scale: float) -> None:
    x1, y1, x2, y2 = (float(side) * scale for side in one["box"])
    colour = _colour(one)
    pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=_LINE)
    which = f" #{one['track_id']}" if "track_id" in one else ""
    text = f"{one['label'][:32]}{which} {one['score']:.2f}"
    top = y1 - _TEXT - 4 if y1 > _TEXT + 4 else y1
    pen.rectangle((x1, top, x1 + pen.textlength(text, _font()) + 6, top + _TEXT + 4), fill=colour)
    pen.text((x1 + 3, top + 1), text, (11, 18, 20), _font())


def _colour(one: Found) -> tuple[int, int, int]:
    of = one["track_id"] if "track_id" in one else sum(one["label"].encode())
    red, green, blue = colorsys.hls_to_rgb(of * _TURN % 1, 0.65, 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)
