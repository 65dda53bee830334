"""Where the photos are: the only file of bench and training that reads the environment."""

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
