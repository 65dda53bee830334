"""The pictures as received, in files that are written once and dropped whole: what pixels on demand come from.

A picture is worth keeping but not worth an fsync or a copy through a write-ahead log: it is appended to the
newest segment, and room is made by deleting the oldest one. Which picture lies where is in the book; a picture
that a power cut took from the file is found out by its checksum.

A picture that enhancements can be coded of has the frame's container behind it, in one record: an enhancement fits no
other bytes than those that were sent. Enhancements that were coded are records of their own, as old as their picture.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from edge.spool.records import RingError

SEGMENTS = 16
"""A full ring has about so many segments, hence loses about 6 % of its pictures at a time."""
MAX_SEGMENT_BYTES = 64 << 20
DISK_FULL = "shed: disk full"
"""Why pictures are gone that had to go before their rows could say so."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies."""

    segment: int
    offset: int
    bytes: int
    crc: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture, or (`data` empty) why there is none; `container` is its frame as coded, if it has enhancements."""

    content_type: str = ""
    data: bytes = b""
    gone: str = ""
    container: bytes = b""


@dataclass(slots=True)
class Segment:
    """One file of the ring."""

    bytes: int
    newest_us: int


class Ring:
    """Append, find, drop the oldest. One thread writes; any thread may read."""

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_age_us = int(max_age_s * 1e6)
        self.segment_bytes = min(MAX_SEGMENT_BYTES, max_bytes // SEGMENTS)
        self.segments: dict[int, Segment] = {}
        self._file: int | None = None
        self._current = 0

    def __repr__(self) -> str:
        return f"<ring: {len(self.segments)} segments, {self.held} of {self.max_bytes} bytes>"

    @property
    def held(self) -> int:
        """Bytes on disk."""
        return sum(s.bytes for s in self.segments.values())

    def open(self, known: dict[int, Segment]) -> None:
        """Take over the segments the book knows of; files it does not know of are of no use to anybody."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {int(f.stem): f for f in self.folder.glob("*.ring") if f.stem.isdigit()}
        for number in files.keys() - known.keys():
            files[number].unlink()
        self.segments = {n: known[n] for n in sorted(known.keys() & files.keys())}
        self._current = max([self._current, *known, *files])
        self._seal()

    def append(self, data: bytes, taken_us: int) -> Place:
        """Write one record, of a picture taken then, to the newest segment. Raises OSError when the disk is full."""
        segment = self.segments.get(self._current)
        if self._file is None or segment is None or segment.bytes + len(data) > self.segment_bytes:
            segment = self._next()
        assert self._file is not None
        place = Place(self._current, segment.bytes, len(data), zlib.crc32(data))
        if os.pwrite(self._file, data, place.offset) != len(data):
            raise OSError(28, "disk full while keeping a picture")
        segment.bytes += len(data)
        segment.newest_us = max(segment.newest_us, taken_us)
        return place

    def surplus(self, room: int, now_us: int) -> dict[int, str]:
        """Segments to drop, oldest first, and why, so that at most `room` bytes and no old picture remain."""
        out: dict[int, str] = {}
        held, limit = self.held, min(room, self.max_bytes)
        for number, segment in self.segments.items():
            if held > limit:
                out[number] = "shed: ring full" if limit == self.max_bytes else "shed: room for frames"
            elif now_us - segment.newest_us > self.max_age_us:
                out[number] = "aged out"
            else:
                break
            held -= segment.bytes
        return out

    def drop(self, number: int) -> None:
        """Delete one segment."""
        if number == self._current:
            self._seal()
        self.segments.pop(number, None)
        self._path(number).unlink(missing_ok=True)

    def read(self, place: Place, content_type: str = "", coded: int = 0) -> Kept:
        """The picture there, or why it is not; the last `coded` bytes are its container. Raises RingError."""
        try:
            with self._path(place.segment).open("rb") as f:
                f.seek(place.offset)
                data = f.read(place.bytes)
        except FileNotFoundError:
            return Kept(gone=DISK_FULL)
        except OSError as e:
            raise RingError(f"cannot read what was kept: {e.strerror or e}") from e
        if len(data) != place.bytes or zlib.crc32(data) != place.crc:
            return Kept(gone="damaged: the machine stopped before the picture was on disk")
        picture = place.bytes - coded
        return Kept(content_type, data[:picture], container=data[picture:])

    def close(self) -> None:
        """Let go of the file being written."""
        self._seal()

    def _next(self) -> Segment:
        self._seal()
        self._current += 1
        self._file = os.open(self._path(self._current), os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        self.segments[self._current] = segment = Segment(0, 0)
        return segment

    def _seal(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:09d}.ring"
