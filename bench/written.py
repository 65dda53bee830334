"""What commands write: that it can be written is known before anything is measured; it appears whole or not at all."""

import json
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from common.errors import MidstreamError

PLOTS = (".png", ".svg", ".pdf")


def check_file(path: Path | None, suffixes: Collection[str] = ()) -> None:
    """Raise MidstreamError unless a file, if one is asked for, can be written here and has one of these suffixes."""
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise MidstreamError(f"{path} cannot be drawn: its name must end in {', '.join(suffixes)}")
    if path.is_dir():
        raise MidstreamError(f"{path} cannot be written: it is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise MidstreamError(f"{path} cannot be written: its folder does not exist")
    _check_writable(path.absolute().parent, path)


def check_folder(path: Path) -> None:
    """Raise MidstreamError unless folders can be written below this one, which need not exist and is not made."""
    found = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not found.is_dir():
        raise MidstreamError(f"{path} cannot be written to: {found} is no folder; choose another with --out")
    _check_writable(found, path)


def _check_writable(folder: Path, wanted: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise MidstreamError(f"{wanted} cannot be written: {e.strerror or e}") from e


def write_json(path: Path, value: Any) -> None:
    """The value as a file, in place of the one that was there."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(value, indent=1) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
