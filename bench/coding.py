"""What coding costs the embedded detector: features at every operating point, beside the picture as JPEG or WebP.

The picture rivals are coded at the network's own size without its border, which is the fewest pixels that would do,
and the whole network then runs on what was decoded. Bytes are whole containers and whole files.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from bench.coco import Photo, Picture, agreement, evaluate, letterbox
from bench.networks import Cut, Embedded
from common.codec import CODECS
from common.codec.container import Container, pack, unpack
from common.geometry import GREY, Detections, letterbox_geometry

JPEG_QUALITIES = (10, 20, 35, 50, 75)
WEBP_QUALITIES = (5, 20, 50, 75)

Point = dict[str, Any]
Coder = Callable[[int], tuple[int, Cut]]
"""Photo number to coded bytes and the cut tensor the cloud gets."""


class Subject:
    """A detector, photos, their uncoded cuts and what it finds in them uncoded."""

    def __init__(self, net: Embedded, truth: Sequence[Photo]) -> None:
        self.net, self.truth = net, truth
        self.pictures = [photo.picture() for photo in truth]
        self.cuts = [net.cut(picture) for picture in self.pictures]
        self.uncoded = [net.finish(c, p) for c, p in zip(self.cuts, self.pictures, strict=True)]

    def point(self, codec: str, quality: int, code: Coder) -> Point:
        """One operating point: bytes and accuracy over all photos."""
        coded = [code(i) for i in range(len(self.truth))]
        found = [self.net.finish(cut, p) for (_, cut), p in zip(coded, self.pictures, strict=True)]
        return {"codec": codec, "quality": quality, **self._figures([size for size, _ in coded], found)}

    def _figures(self, sizes: list[int], found: list[Detections]) -> Point:
        accuracy = evaluate(self.truth, found)
        return {
            "bytes_mean": round(float(np.mean(sizes)), 1),
            "bytes_p95": round(float(np.percentile(sizes, 95)), 1),
            "ap50": round(accuracy["ap50"], 4),
            "person_ap50": round(accuracy["person_ap50"], 4),
            "agreement_ap50": round(agreement(self.truth, self.uncoded, found), 4),
            "images": len(self.truth),
        }


def feature_points(subject: Subject, codec: Any, qualities: Iterable[int]) -> Iterator[Point]:
    """The codec's points: each cut through encode, container, decode."""
    for quality in qualities:

        def code(i: int, quality: int = quality) -> tuple[int, Cut]:
            photo = subject.truth[i]
            layers = codec.encode([subject.cuts[i]], quality)
            data = pack(Container(bytes(8), codec.id, quality, photo.width, photo.height, layers))
            return len(data), codec.decode(unpack(data).layers)[0]

        yield subject.point(codec.name, quality, code)


def picture_points(subject: Subject, kind: str, qualities: Iterable[int]) -> Iterator[Point]:
    """The rivals' points: each picture through `kind` ("JPEG", "WEBP") at network size, then the front half."""
    for quality in qualities:

        def code(i: int, quality: int = quality) -> tuple[int, Cut]:
            size, seen = picture_coded(subject.pictures[i], kind, quality)
            return size, subject.net.edge.run(None, {"image": seen[None]})[0][0]

        yield subject.point(kind.lower(), quality, code)


def picture_coded(picture: Picture, kind: str, quality: int) -> tuple[int, Picture]:
    """Bytes of a picture coded at network size, and the network's input after decoding them."""
    box = letterbox_geometry(picture.shape[1], picture.shape[0])
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    buffer = io.BytesIO()
    options = {"optimize": True} if kind == "JPEG" else {"method": 6}
    Image.fromarray(letterbox(picture)[rows, columns]).save(buffer, kind, quality=quality, **options)
    seen = np.full((320, 320, 3), GREY, np.uint8)
    seen[rows, columns] = np.asarray(Image.open(buffer).convert("RGB"))
    return buffer.getbuffer().nbytes, seen


def compare(subject: Subject, params: dict[str, Any]) -> list[Point]:
    """All points of the bundle's codec and of its rivals."""
    codec = CODECS[params["name"]].from_params(params, {})
    return [
        *feature_points(subject, codec, codec.qualities),
        *picture_points(subject, "JPEG", JPEG_QUALITIES),
        *picture_points(subject, "WEBP", WEBP_QUALITIES),
    ]


def table(points: list[Point]) -> Table:
    """The points for a person. Agreement is AP50 against the uncoded network's own detections."""
    drawn = Table("codec", "quality", "bytes", "AP50", "person", "agreement", title="what coding costs")
    for i, p in enumerate(points):
        if i and p["codec"] != points[i - 1]["codec"]:
            drawn.add_section()
        accuracy = (f"{p[name]:.3f}" for name in ("ap50", "person_ap50", "agreement_ap50"))
        drawn.add_row(p["codec"], str(p["quality"]), f"{p['bytes_mean']:,.0f}", *accuracy)
    return drawn
