"""A sheet to look at: the original, what the base layer shows, the whole picture at two rates, JPEG as large."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.pictures import Picture, read, thinned
from bench.rd import layered
from bench.rd.layered import Layered
from bench.rd.metrics import psnr
from bench.rivals import RIVALS
from common.bundle import Bundle
from common.layers import LOW
from common.scalable.pictures import Offered

SUFFIXES = (".png", ".webp", ".jpg")
PICTURES = 3
TILE = (300, 300)
"""Most pixels of a tile, width and height: the middle of the picture, one pixel for one."""
OCTAVES_DOWN = 2
"""How much coarser the step of the lower rate is than the default's."""
STEPS_PER_OCTAVE = 64
GAP, CAPTION = 8, 38


class Tile(NamedTuple):
    """A picture and the two lines under it."""

    picture: Picture
    name: str
    figures: str


def draw(bundle: Bundle, files: Sequence[Path], path: Path) -> None:
    """Write the sheet of some of these pictures, one a row."""
    ours = Layered(bundle)
    pictures = [read(file, stored=False) for file in thinned(files, PICTURES)]
    pasted([tiles(ours, picture) for picture in pictures]).save(path)


def tiles(ours: Layered, picture: Picture) -> list[Tile]:
    """A picture's row."""
    height, width = picture.shape[:2]
    name = ours.bundle.manifest.name
    row = [Tile(picture, "original", f"{width}x{height}")]
    if ours.pictures.previews:
        base = ours.base(picture)
        sent = len(ours.packed(picture, base, ours.codec.default_quality))
        row.append(tile("base layer", picture, ours.pictures.preview(base, width, height), sent))
    for layer in (*(layer for layer in ours.pictures.layers if layer.name == LOW), ours.whole):
        of_layer = layered.shown(ours, layer)
        for quality in rates(layer):
            data = of_layer.encode(picture, quality)
            called = f"{name}, {layer.name}, {quality}" if layer.name == LOW else f"{name}, {quality}"
            row.append(tile(called, picture, of_layer.decode(data), len(data)))
            row.append(tile(*jpeg(picture, len(data))))
    return row


def rates(layer: Offered) -> tuple[int, ...]:
    """Two qualities of a whole picture, one clearly below the default and the default; the default alone of less."""
    if layer.name == LOW:
        return (layer.default_quality,)
    return max(min(layer.qualities), layer.default_quality - OCTAVES_DOWN * STEPS_PER_OCTAVE), layer.default_quality


def jpeg(picture: Picture, most: int) -> tuple[str, Picture, Picture, int]:
    """JPEG at the best quality that takes no more bytes than this, or at its lowest: what `tile` takes."""
    codec = RIVALS["jpeg"]
    low, high = 1, 100
    while low < high:
        middle = (low + high + 1) // 2
        if codec.counted(codec.encode(picture, middle)) <= most:
            low = middle
        else:
            high = middle - 1
    data = codec.encode(picture, low)
    return f"JPEG, {low}", picture, codec.decode(data), codec.counted(data)


def tile(name: str, original: Picture, decoded: Picture, size: int) -> Tile:
    """A decoded picture with its figures."""
    bpp = 8 * size / (original.shape[0] * original.shape[1])
    return Tile(decoded, name, f"{size:,} B, {bpp:.2f} bpp, {psnr(original, decoded):.1f} dB")


def middle(picture: Picture) -> Picture:
    """The picture's centre, no larger than a tile."""
    height, width = picture.shape[:2]
    w, h = min(TILE[0], width), min(TILE[1], height)
    top, left = (height - h) // 2, (width - w) // 2
    return picture[top : top + h, left : left + w]


def pasted(rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """The tiles on white, their names under them."""
    columns = max(len(row) for row in rows)
    across, down = TILE[0] + GAP, TILE[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * across + GAP, len(rows) * down + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            x, y = GAP + j * across, GAP + i * down
            sheet.paste(Image.fromarray(np.ascontiguousarray(middle(one.picture))), (x, y))
            pen.text((x, y + TILE[1] + 2), f"{one.name}\n{one.figures}", fill="black", font=font, spacing=2)
    return sheet
