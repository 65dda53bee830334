"""Arrays of numbers from an NPZ file of a bundle: data only, and no more of it than was agreed."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import BundleError


def read(path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """All arrays by name. Raises BundleError if they are more than `most_bytes`, empty, or not numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            # A compressed archive can claim far more than it weighs.
            size = sum(member.file_size for member in archive.infolist())
        if size > most_bytes:
            raise BundleError(f"{path.name} unpacks to {size} bytes, more than {most_bytes}")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as e:
        raise BundleError(f"{path.name} is not an archive of arrays: {e}") from e
    if any(array.dtype.kind not in "fiu" or math.prod(array.shape) == 0 for array in arrays.values()):
        raise BundleError(f"{path.name} holds something else than numbers")
    return arrays
