"""Where the photos are, and what foreign encoders read: the only file of bench and training with an environment."""

import os
from pathlib import Path

from common.errors import MidstreamError


class MissingDataError(MidstreamError, FileNotFoundError):
    """What a bench or a training needs is not on this machine; the message says where it was looked for."""


def data_root() -> Path:
    """The folder of photos, labels and rivals' weights: MIDSTREAM_DATA, else ../shared/data beside the project."""
    root = Path(os.environ.get("MIDSTREAM_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (root / "instances_val.json").exists():
        raise MissingDataError(f"no photos in {root}: set MIDSTREAM_DATA to the folder that holds instances_val.json")
    return root


def hush_encoders() -> None:
    """Keep SVT-AV1, which writes a page to stderr for every picture, to its errors. It reads this when it starts."""
    os.environ.setdefault("SVT_LOG", "1")
