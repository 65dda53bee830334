"""Small files that outlive the process: written whole or not at all, read with a bound."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace the file: on disk when this returns, readable by this user alone. Raises OSError: nothing changed."""
    scratch = path.with_name(f".{path.name}.tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # a new name is on the disk when its folder is
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, most: int) -> str:
    """The file's text. Raises OSError, or ValueError if it has more than `most` bytes."""
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{size} bytes, more than {most}")
    return path.read_text()
