"""URIs of video: which there are, and what of them may be shown.

The list of schemes is short on purpose. FFmpeg opens far more (concat:, data:, pipe:, subfile: and any path), and
whoever may post a stream would read the edge's disk with them. So a file is opened only below the folder that the
operator named for it, webcams only by their number, and each kind of source may go on only to the protocols it needs.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from common.errors import FrameError

MAX_CHARACTERS = 2048
_WEBCAM = re.compile(r"(?:webcam:|/dev/video)([0-9]{1,3})")
_SECRET = re.compile(r"((?:user|pass|pwd|token|key|secret|auth|sig)\w*=)[^/;]*", re.IGNORECASE)
"""In the path: some cameras take their password there. From the first such name to the end of the segment."""

EXPECTED = (
    "uri: rtsp://host/path, http://host/path, https://host/path, webcam:0, /dev/video0, "
    "or file:name, of a file below MIDSTREAM_EDGE_STREAMS_DIR"
)


class Kind(StrEnum):
    """What a source is."""

    FILE = "file"
    RTSP = "rtsp"
    HTTP = "http"
    WEBCAM = "webcam"


@dataclass(frozen=True, slots=True)
class Address:
    """Where video comes from. `target` is for PyAV alone: it may hold a password; `shown` is for everybody."""

    kind: Kind
    target: str = field(repr=False)
    shown: str
    folder: Path | None = None
    """That a file must be below."""

    def opened(self) -> str:
        """What PyAV is to open. Raises FrameError if it is a file that is not there, or no longer in its folder."""
        if self.folder is None:
            return self.target
        path = _inside(Path(self.target), self.folder)  # again: there may be a link in its place by now
        if not path.is_file():
            raise FrameError(404, f"there is no file {self.shown}")
        return str(path)


def parse(uri: str, folder: Path | None) -> Address:
    """The address. Files are allowed below `folder`, if there is one. Raises FrameError 422, which has no secrets."""
    if len(uri) > MAX_CHARACTERS or re.search(r"[\x00-\x20\x7f]", uri):
        raise FrameError(422, f"uri: at most {MAX_CHARACTERS} characters, no spaces or control characters (write %20)")
    if found := _WEBCAM.fullmatch(uri):
        return Address(Kind.WEBCAM, f"/dev/video{int(found[1])}", f"webcam:{int(found[1])}")
    try:
        parts = urlsplit(uri)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError as e:
        raise FrameError(422, f"uri: the host or the port cannot be read; {EXPECTED}") from e
    if scheme == "file":
        return _file(parts, folder)
    if scheme not in ("rtsp", "http", "https") or not host:
        raise FrameError(422, EXPECTED)
    return Address(Kind.RTSP if scheme == "rtsp" else Kind.HTTP, uri, shown(parts))


def shown(parts: SplitResult) -> str:
    """The URI without user, password, query and whatever else in it may be secret."""
    user, at, place = parts.netloc.rpartition("@")
    path = _SECRET.sub(r"\g<1>***", parts.path)
    return f"{parts.scheme}://{'***' if user else ''}{at}{place}{path}{'?***' if parts.query else ''}"


def _file(parts: SplitResult, folder: Path | None) -> Address:
    if folder is None:
        raise FrameError(422, "uri: this edge plays no files; MIDSTREAM_EDGE_STREAMS_DIR names a folder of them")
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
        raise FrameError(
            422, "uri: file:name, of a file below MIDSTREAM_EDGE_STREAMS_DIR; write %23 for # and %3F for ?"
        )
    name = unquote(parts.path)
    if "\0" in name:
        raise FrameError(422, EXPECTED)
    path = _inside(folder / name, folder)
    return Address(Kind.FILE, str(path), f"file:{path.relative_to(folder.resolve())}", folder)


def _inside(path: Path, folder: Path) -> Path:
    """The path with its links followed. Raises FrameError if that leads out of the folder."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as e:  # a circle of links
        raise FrameError(422, "uri: the file's name leads nowhere") from e
    if not real.is_relative_to(folder.resolve()):
        raise FrameError(422, "uri: only files below MIDSTREAM_EDGE_STREAMS_DIR are played")
    return real
