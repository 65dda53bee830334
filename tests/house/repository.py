"""The repository as the house tests see it: the files that are, or would be, committed."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Relative paths of all files that git tracks or would add; a file deleted but not yet committed is none."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(path for name in listing.split("\0") if name and (ROOT / (path := Path(name))).is_file())


def python_files(*packages: str) -> tuple[Path, ...]:
    """Python written by hand, in the packages named or everywhere."""
    return tuple(
        path
        for path in files()
        if path.suffix == ".py" and "_pb2" not in path.name and (not packages or path.parts[0] in packages)
    )
