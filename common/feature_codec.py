"""The codec that a bundle asks for, built from its [codec] table and its arrays."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import CODECS, Codec
from common.errors import BundleError

ARRAYS = "codec.npz"
MAX_ARRAY_BYTES = 1 << 28


def of(bundle: Bundle) -> Codec:
    """The bundle's codec. Raises BundleError if this program does not know it or its parameters do not fit."""
    params = bundle.manifest.codec
    name = params.get("name")
    if not isinstance(name, str) or name not in CODECS:
        raise BundleError(f"the [codec] of {bundle!r} is {name!r}; this program knows {sorted(CODECS)}: update it")
    arrays = _arrays(bundle.file(ARRAYS)) if ARRAYS in bundle.manifest.files else {}
    try:
        return CODECS[name].from_params(params, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as e:
        raise BundleError(f"the [codec] table of {bundle!r} does not fit codec {name!r}: {e!r}") from e


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            # A compressed archive can claim far more than it weighs.
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_ARRAY_BYTES:
            raise BundleError(f"{path.name} unpacks to {size} bytes, more than {MAX_ARRAY_BYTES}")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as e:
        raise BundleError(f"{path.name} is not an archive of arrays: {e}") from e
    if any(array.dtype.kind not in "fiu" or math.prod(array.shape) == 0 for array in arrays.values()):
        raise BundleError(f"{path.name} holds something else than numbers")
    return arrays
