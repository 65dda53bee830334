"""What a detector's classes are called: COCO's eighty unless a file says otherwise."""

from pathlib import Path

from bench.labels import COCO
from common.errors import BundleError


def read(path: Path | None) -> tuple[str, ...]:
    """The labels in a text file, one a line; COCO's without a file. Raises BundleError."""
    if path is None:
        return tuple(COCO)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise BundleError(f"cannot read the labels in {path}: {e}") from e
    found = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(found) <= 1000:
        raise BundleError(f"{path} names {len(found)} labels: write 1 to 1000, one a line, in the network's order")
    return found


def coco_ids(labels: tuple[str, ...]) -> list[int]:
    """COCO's category ids of these labels, or none if one of them is not COCO's."""
    return [COCO[name] for name in labels] if set(labels) <= COCO.keys() else []
