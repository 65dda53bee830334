"""SFU-HW-Tracks-v1 in the formats that other tools read: MOT Challenge's and COCO's."""

import re
from pathlib import Path
from typing import Any

from bench.labels import COCO
from bench.sfu import files
from bench.sfu.files import Mark, Sequence, numbered
from bench.written import check_folder, write_json
from common.errors import MidstreamError

NAMES = tuple(COCO)
"""By the dataset's class."""


def corner(mark: Mark, width: int, height: int) -> tuple[float, float, float, float]:
    """x, y of the upper left corner, width, height: pixels of a picture of this size."""
    left, top = mark.x - mark.width / 2, mark.y - mark.height / 2
    return left * width, top * height, mark.width * width, mark.height * height


def to_mot(sequence: Sequence, width: int, height: int, kind: int | None = None) -> str:
    """`frame,id,x,y,w,h,1,-1,-1,-1`, frames from 1, pixels of a picture of this size.

    Of one class the ids are the dataset's, from 1; of all together they are numbered anew, as they are unique only
    within a class.
    """
    ids = numbered(mark[:2] for marks in sequence.frames.values() for mark in marks)
    lines = []
    for number, marks in sequence.frames.items():
        for mark in marks:
            if kind is None or mark.kind == kind:
                own = ids[mark[:2]] if kind is None else mark.id + 1
                box = ",".join(f"{side:.2f}" for side in corner(mark, width, height))
                lines.append(f"{number + 1},{own},{box},1,-1,-1,-1\n")
    return "".join(lines)


def to_coco(sequence: Sequence, width: int, height: int) -> dict[str, Any]:
    """COCO's JSON, categories by COCO's own ids; a `track_id` is the object's, unique among all classes."""
    ids = numbered(mark[:2] for marks in sequence.frames.values() for mark in marks)
    images, annotations = [], []
    for number, marks in sequence.frames.items():
        name = f"{sequence.stem}_{number:03d}.png"
        images.append({"id": number + 1, "file_name": name, "width": width, "height": height, "frame_id": number})
        for mark in marks:
            box = [round(side, 2) for side in corner(mark, width, height)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": COCO[NAMES[mark.kind]],
                    "track_id": ids[mark[:2]],
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": COCO[NAMES[kind]], "name": NAMES[kind]} for kind in sequence.kinds]
    return {"images": images, "annotations": annotations, "categories": categories}


def run(dataset: Path, out: Path, to: str, size: str | None) -> None:
    """Write every sequence of a dataset to `out`, as `to` mot or coco; `size` is WxH, or the files' names say it.

    Raises MidstreamError.
    """
    check_folder(out)
    sequences = files.read_all(dataset)
    sizes = [_size(sequence, size) for sequence in sequences]
    out.mkdir(parents=True, exist_ok=True)
    for sequence, pixels in zip(sequences, sizes, strict=True):
        if to == "mot":
            (out / f"{sequence.name}.txt").write_text(to_mot(sequence, *pixels))
        else:
            write_json(out / f"{sequence.name}.json", to_coco(sequence, *pixels))


def _size(sequence: Sequence, said: str | None) -> tuple[int, int]:
    if said is not None:
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", said)
        if not match or not int(match[1]) or not int(match[2]):
            raise MidstreamError(f"expected a size as 1920x1080, got {said!r}")
        return int(match[1]), int(match[2])
    found = files.size_of(sequence.stem)
    if found is None:
        raise MidstreamError(f"the names of {sequence.name}'s files do not say the pictures' size: give it with --size")
    return found
