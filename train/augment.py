"""What is done to photos before the network sees them: mosaics, scale, stretch, mirror, colour.

Each function takes its randomness as an argument; nothing here keeps state.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.geometry import GREY
from train.photos import Photo, Photos

FIT = (0.7, 1.6)
"""How far a photo is zoomed, relative to just fitting in, when no object says otherwise."""
AIMED = 0.6
"""The share of photos zoomed so that one object, drawn at random, gets a size drawn at random."""
OBJECT = (14.0, 220.0)
"""That size: the root of the box's area in network pixels. The photos' own objects are mostly tiny."""
ZOOM = (0.5, 4.0)
"""How far an object may zoom its photo, relative to just fitting in."""
STRETCH = 0.15
SHOWN = 0.3
"""A box of which less remains in the picture is left alone."""


@dataclass(frozen=True)
class Batch:
    """Photos [N,S,S,3] uint8 RGB, and boxes [M,7]: photo, x1, y1, x2, y2, class, trust (0: leave alone)."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def batch(photos: Photos, rng: np.random.Generator, count: int, size: int, mosaics: float) -> Batch:
    """Return `count` augmented pictures of `size` x `size`, a share `mosaics` of them made of four photos."""
    pixels = np.full((count, size, size, 3), GREY, np.uint8)
    boxes = []
    for number in range(count):
        if rng.random() < mosaics:
            found = mosaic(photos, rng, pixels[number])
        else:
            found = place(photos, rng, pixels[number])
        pixels[number] = colour(rng, pixels[number])
        boxes.append(np.insert(found, 0, number, 1))
    return Batch(pixels, np.concatenate(boxes))


def mosaic(photos: Photos, rng: np.random.Generator, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Fill the four quarters of `canvas` about a random middle; return all their boxes [M,6]."""
    size = len(canvas)
    mx, my = (int(v) for v in rng.uniform(0.3, 0.7, 2) * size)
    found = []
    for x0, y0, x1, y1 in ((0, 0, mx, my), (mx, 0, size, my), (0, my, mx, size), (mx, my, size, size)):
        boxes = place(photos, rng, canvas[y0:y1, x0:x1])
        found.append(boxes + np.array([x0, y0, x0, y0, 0, 0], np.float32))
    return np.concatenate(found)


def place(photos: Photos, rng: np.random.Generator, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Draw a random photo into `canvas` [H,W,3], scaled, stretched, shifted, perhaps mirrored; return its boxes."""
    photo = photos.draw(rng)
    (height, width), (ph, pw) = canvas.shape[:2], photo.pixels.shape[:2]
    scale, (cx, cy) = aim(photo, rng, width, height)
    stretch = np.exp(rng.uniform(-STRETCH, STRETCH))
    sx, sy = scale * stretch, scale / stretch
    dx, dy = slide(rng, width, pw * sx, cx * sx), slide(rng, height, ph * sy, cy * sy)
    if rng.random() < 0.5:
        sx, dx = -sx, width - dx
    canvas[:] = warp(photo.pixels, (sx, sy, dx, dy), width, height)
    return move(photo.boxes, (sx, sy, dx, dy), width, height)


def aim(photo: Photo, rng: np.random.Generator, width: int, height: int) -> tuple[float, tuple[float, float]]:
    """Return a scale for `photo` and the point (x, y) of it that must be seen on a `width` x `height` canvas."""
    ph, pw = photo.pixels.shape[:2]
    fit = min(height / ph, width / pw)
    sure = photo.boxes[photo.boxes[:, 5] > 0]
    if not len(sure) or rng.random() > AIMED:
        return fit * np.exp(rng.uniform(*np.log(FIT))), (rng.uniform(0, pw), rng.uniform(0, ph))
    x1, y1, x2, y2 = sure[rng.integers(len(sure)), :4].astype(float)
    wanted = np.exp(rng.uniform(*np.log(OBJECT)))
    scale = min(wanted / np.sqrt((x2 - x1) * (y2 - y1)), 1.1 * width / (x2 - x1), 1.1 * height / (y2 - y1))
    return float(np.clip(scale, ZOOM[0] * fit, ZOOM[1] * fit)), ((x1 + x2) / 2, (y1 + y2) / 2)


def slide(rng: np.random.Generator, room: float, length: float, point: float) -> float:
    """Return where a photo of `length` starts in a `room`, so that its `point` is seen and no room is wasted."""
    start = rng.uniform(0.15, 0.85) * room - point
    return float(np.clip(start, min(0, room - length), max(0, room - length)))


def warp(
    pixels: NDArray[np.uint8], placing: tuple[float, float, float, float], width: int, height: int
) -> NDArray[np.uint8]:
    """Return `pixels` scaled by (sx, sy) and shifted by (dx, dy) on a grey canvas of `width` x `height`."""
    sx, sy, dx, dy = placing
    ph, pw = pixels.shape[:2]
    if min(abs(sx), sy) < 0.5:  # far shrinking needs averaging, or the edges of a large photo turn to noise
        pixels = cv2.resize(pixels, (pw // 2, ph // 2), interpolation=cv2.INTER_AREA)
        sx, sy = sx * pw / (pw // 2), sy * ph / (ph // 2)
    # OpenCV counts from the first pixel's centre, boxes from its corner: half a pixel on either side.
    matrix = np.array([[sx, 0, dx + sx / 2 - 0.5], [0, sy, dy + sy / 2 - 0.5]])
    return cv2.warpAffine(pixels, matrix, (width, height), borderValue=(GREY,) * 3)


def move(
    boxes: NDArray[np.float32], placing: tuple[float, float, float, float], width: int, height: int
) -> NDArray[np.float32]:
    """Return boxes [M,6] as placed and cut off by the canvas; what hardly shows is left alone or dropped."""
    sx, sy, dx, dy = placing
    x = np.sort(boxes[:, [0, 2]] * sx + dx, 1)
    y = boxes[:, [1, 3]] * sy + dy
    whole = (x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0])
    x, y = x.clip(0, width), y.clip(0, height)
    w, h = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    shown = w * h / whole.clip(1e-6)
    trust = np.where((shown >= SHOWN) & (np.minimum(w, h) >= 3), boxes[:, 5], 0)
    moved = np.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1], boxes[:, 4], trust), 1)
    return moved[(shown > 0.05) & (w >= 1) & (h >= 1)].astype(np.float32)


def colour(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return [S,S,3] with brightness, contrast, gamma, white balance and saturation changed at random."""
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    gain = np.exp(rng.uniform(-0.35, 0.35) + rng.uniform(-0.08, 0.08, 3))
    curve = ((ramp ** np.exp(rng.uniform(-0.3, 0.3)) - 0.5) * np.exp(rng.uniform(-0.25, 0.25)) + 0.5) * gain
    pixels = cv2.LUT(pixels, (curve * 255).clip(0, 255).astype(np.uint8)[None])
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        saturation = rng.uniform(0.0, 1.5)
        pixels = cv2.addWeighted(pixels, saturation, grey, 1 - saturation, 0)
    return pixels
