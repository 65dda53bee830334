"""The files of SFU-HW-Tracks-v1: a folder for each sequence, in it a text file for each frame.

A file's frame is the number after the last underscore of its name, from 0. A line is one object, six fields between
white space:

    class id x y w h

`class` is one of COCO's eighty, from 0; `id` is the object's, from 0, unique within its class and sequence; x and y are
the box's centre, all four shares of the picture's width or height. Other files, as the lists of objects that come with
the sequences, are left alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from common.errors import MidstreamError

CLASSES = 80
FARTHEST = 2.0
"""Pictures that a box may lie off: objects that leave may do so with their box, but no pixels may pass for shares."""
_NAME = re.compile(r"(?P<stem>.+)_(?P<frame>\d+)\.txt")
_SIZE = re.compile(r"_(?P<width>\d+)x(?P<height>\d+)(?:_(?P<rate>\d+))?(?=_|$)")


class Mark(NamedTuple):
    """One object in one frame."""

    kind: int
    """0 to 79."""
    id: int
    """Not below 0; unique together with the kind."""
    x: float
    y: float
    width: float
    height: float
    """Centre and size, shares of the picture's."""


@dataclass(frozen=True)
class Sequence:
    """Every object in every frame."""

    name: str
    """That of the folder."""
    stem: str
    """What all its files' names begin with: in the dataset, name, size and frames a second."""
    frames: Mapping[int, tuple[Mark, ...]]
    """Number of the frame, from 0, rising -> objects."""

    @property
    def rate(self) -> int | None:
        """Frames a second, if the stem says it."""
        found = _SIZE.search(self.stem)
        return int(found["rate"]) if found and found["rate"] else None

    @property
    def kinds(self) -> list[int]:
        """The classes that are marked anywhere in it."""
        return sorted({mark.kind for marks in self.frames.values() for mark in marks})


def size_of(name: str) -> tuple[int, int] | None:
    """Width and height that a file's name says, as those of raw video do."""
    found = _SIZE.search(name)
    return (int(found["width"]), int(found["height"])) if found else None


def read_all(root: Path) -> list[Sequence]:
    """Every sequence below a folder, by name. Raises MidstreamError if there is none, or one is no such sequence."""
    if not root.is_dir():
        raise MidstreamError(f"{root} is no folder: expected one with a folder of text files for each sequence")
    folders = sorted({path.parent for path in root.rglob("*.txt") if _NAME.fullmatch(path.name)})
    if not folders:
        raise MidstreamError(f"{root} holds no sequence: no file is called as in …_000.txt")
    return [read(folder) for folder in folders]


def read(folder: Path) -> Sequence:
    """One sequence. Raises MidstreamError that names the file and the line which are wrong."""
    named: dict[int, Path] = {}
    stems = set()
    for path in sorted(folder.iterdir()):
        if not (match := _NAME.fullmatch(path.name)):
            continue
        number = int(match["frame"])
        if number in named:
            raise MidstreamError(f"{path}: frame {number} is in {named[number].name} too")
        named[number] = path
        stems.add(match["stem"])
    if len(stems) != 1:
        raise MidstreamError(
            f"{folder} holds files of {len(stems)} sequences, expected one: {', '.join(sorted(stems))}"
        )
    # By number: the order of the names is another where numbers have no leading zeros.
    return Sequence(folder.name, stems.pop(), {number: _marks(named[number]) for number in sorted(named)})


def _marks(path: Path) -> tuple[Mark, ...]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise MidstreamError(f"{path} cannot be read: {e}") from e
    found: dict[tuple[int, int], Mark] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            mark = _mark(line.split())
        except ValueError as e:
            raise MidstreamError(f"{path}:{number}: {e}") from e
        if mark[:2] in found:
            raise MidstreamError(f"{path}:{number}: object {mark.id} of class {mark.kind} is there twice")
        found[mark[:2]] = mark
    return tuple(found.values())


def _mark(words: list[str]) -> Mark:
    """Raises ValueError."""
    if len(words) != len(Mark._fields):
        raise ValueError(f"expected {len(Mark._fields)} fields (class id x y w h), got {len(words)}")
    mark = Mark(int(words[0]), int(words[1]), *(float(word) for word in words[2:]))
    if not 0 <= mark.kind < CLASSES:
        raise ValueError(f"expected a class from 0 to {CLASSES - 1}, got {mark.kind}")
    if mark.id < 0:
        raise ValueError(f"expected an id from 0, got {mark.id}")
    for name in ("x", "y", "width", "height"):
        value = getattr(mark, name)
        least = 0 if name in ("width", "height") else 1 - FARTHEST
        if not isfinite(value) or not least <= value <= FARTHEST:
            raise ValueError(f"expected {name} as a share of the picture, got {value}")
    return mark


def write(sequence: Sequence, root: Path) -> Path:
    """The sequence as files in a folder of its name below `root`; the folder. What is read from it is the same."""
    folder = root / sequence.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, marks in sequence.frames.items():
        lines = "".join(_line(mark) for mark in marks)
        (folder / f"{sequence.stem}_{number:03d}.txt").write_text(lines, encoding="ascii")
    return folder


def _line(mark: Mark) -> str:
    return " ".join(map(repr, mark)) + "\n"


def numbered(marks: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """(class, id) -> an id from 1 that is unique among all classes."""
    return {key: number for number, key in enumerate(sorted(set(marks)), 1)}
