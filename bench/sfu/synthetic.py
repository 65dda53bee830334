"""Sequences made up, with known truth: real people, cut out along their masks, walk over real photos.

They pass before and behind each other, behind a part of the scene that stands in their way, out of the picture and into
it. A seed decides everything: the same seed and photos give the same sequence to the last pixel.
"""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.masks.labels import Marked
from bench.pictures import Picture
from bench.sfu.files import Mark, Sequence, write
from common.errors import MidstreamError

PERSON = 0
"""The dataset's class."""
LEAST_PIXELS = 6000
"""Of a person that is cut out: of smaller ones too little is to be seen."""
FACING = 8
"""Pixels that a mask keeps from the photo's border: a person cut off there would float."""
VISIBLE = 0.3
"""Share of a person's pixels that must be seen for there to be a box: it is that of the whole person in the picture."""
HEIGHTS = (0.34, 0.56)
"""Of people far away and near by, shares of the picture's height."""
PACE = (0.35, 0.8)
"""Their speed, in own heights a second."""
POST = 0.07
"""Width of what stands in the way, a share of the picture's."""
NOISE = 2.0
"""Standard deviation of the camera's noise, in grey levels."""
QUALITY = 95
"""Of the JPEGs that frames are kept as."""


@dataclass(frozen=True)
class Cutout:
    """A person: pixels [h, w, 3] and where they are theirs [h, w]."""

    pixels: Picture
    mask: NDArray[np.bool_]

    def sized(self, height: int) -> "Cutout":
        """The same, so many pixels high."""
        width = max(1, round(self.mask.shape[1] * height / self.mask.shape[0]))
        pixels = Image.fromarray(self.pixels).resize((width, height), Image.Resampling.LANCZOS)
        mask = Image.fromarray(self.mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
        return Cutout(np.asarray(pixels), np.asarray(mask) > 127)


@dataclass(frozen=True)
class Walker:
    """A person on their way: feet at (x, y) pixels at the first frame, `pace` pixels a frame."""

    person: Cutout
    x: float
    y: float
    pace: float

    def corner(self, frame: int) -> tuple[int, int]:
        """Of the upper left pixel."""
        height, width = self.person.mask.shape
        return round(self.x + self.pace * frame - width / 2), round(self.y) - height


def cutouts(photos: Several[Marked]) -> list[Cutout]:
    """Everybody in the photos who is large enough and whole."""
    found = []
    for photo in photos:
        with Image.open(photo.mask) as image:
            labels = np.asarray(image)
        picture = photo.picture()
        found += [cut for number in range(1, int(labels.max()) + 1) if (cut := _cutout(picture, labels == number))]
    if not found:
        raise MidstreamError(f"nobody in {len(photos)} photos can be cut out: expected people's masks")
    return found


def _cutout(picture: Picture, mask: NDArray[np.bool_]) -> Cutout | None:
    if mask.sum() < LEAST_PIXELS:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, right = columns[0], columns[-1] + 1
    if left < FACING or right > mask.shape[1] - FACING:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(left, right)
    return Cutout(picture[box], mask[box])


def walkers(
    people: Several[Cutout], size: tuple[int, int], frames: int, rate: int, rng: np.random.Generator, count: int
) -> list[Walker]:
    """So many people, each in sight in the middle of a stretch of the sequence; those far away first."""
    width, height = size
    chosen = []
    for _ in range(count):
        near = rng.uniform()
        tall = round(height * (HEIGHTS[0] + near * (HEIGHTS[1] - HEIGHTS[0])))
        person = people[rng.integers(len(people))].sized(tall)
        pace = tall * rng.uniform(*PACE) / rate * rng.choice([-1, 1])
        # At this frame they are at this place; where they come from and go to follows from their pace.
        when, where = rng.uniform(0, frames), rng.uniform(0.1, 0.9) * width
        chosen.append(Walker(person, where - pace * when, height * (0.62 + 0.34 * near), pace))
    return sorted(chosen, key=lambda walker: walker.y)


def scene(ground: Picture, post: int | None, people: Several[Walker], frame: int) -> tuple[Picture, list[Mark]]:
    """One frame without noise, and who is in it; their ids are their places in `people`, who are drawn in this order.

    `post`: the column at which a part of the scene stands before them all; it is the scene's other side.
    """
    height, width = ground.shape[:2]
    picture = ground.copy()
    owner = np.full((height, width), -1)
    boxes = {}
    for number, walker in enumerate(people):
        left, top = walker.corner(frame)
        mask, pixels = walker.person.mask, walker.person.pixels
        x1, y1 = max(0, left), max(0, top)
        x2, y2 = min(width, left + mask.shape[1]), min(height, top + mask.shape[0])
        if x1 >= x2 or y1 >= y2:
            continue
        inside = mask[y1 - top : y2 - top, x1 - left : x2 - left]
        picture[y1:y2, x1:x2][inside] = pixels[y1 - top : y2 - top, x1 - left : x2 - left][inside]
        owner[y1:y2, x1:x2][inside] = number
        boxes[number] = (x1, y1, x2, y2)
    if post is not None:
        strip = slice(post, post + round(POST * width))
        picture[:, strip] = ground[:, ::-1][:, strip]
        owner[:, strip] = -1
    seen = np.bincount(owner[owner >= 0], minlength=len(people))
    least = [VISIBLE * walker.person.mask.sum() for walker in people]
    marks = [_mark(number, box, width, height) for number, box in boxes.items() if seen[number] >= least[number]]
    return picture, marks


def _mark(number: int, box: tuple[int, int, int, int], width: int, height: int) -> Mark:
    x1, y1, x2, y2 = box
    across, down = (x2 - x1) / width, (y2 - y1) / height
    return Mark(PERSON, number, x1 / width + across / 2, y1 / height + down / 2, across, down)


def make(
    root: Path, name: str, ground: Picture, people: Several[Cutout], *, frames: int, rate: int, count: int, seed: int
) -> Sequence:
    """Write a sequence over the scene `ground` [H, W, 3]: labels in `root`/synthetic-tracks, JPEGs in `root`/video."""
    rng = np.random.default_rng(seed)
    height, width = ground.shape[:2]
    walking = walkers(people, (width, height), frames, rate, rng, count)
    post = int(rng.uniform(0.3, 0.6) * width)
    folder = root / "video" / name
    folder.mkdir(parents=True, exist_ok=True)
    marked = {}
    for frame in range(frames):
        clean, marks = scene(ground, post, walking, frame)
        noisy = np.clip(np.rint(clean + rng.normal(0, NOISE, clean.shape)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{frame:05d}.jpg", quality=QUALITY, subsampling=0)
        marked[frame] = tuple(marks)
    sequence = Sequence(name, f"{name}_{width}x{height}_{rate}_seq", marked)
    write(sequence, root / "synthetic-tracks")
    return sequence
