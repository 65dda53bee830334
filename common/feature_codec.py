"""The codec that a bundle asks for, built from its [codec] table, its arrays and, if it is learned, its networks."""

from common import arrays as arrays_file
from common.bundle import Bundle
from common.codec import CODECS, Codec
from common.errors import BundleError
from common.scalable import LatentFeatures

ARRAYS = "codec.npz"
MAX_ARRAY_BYTES = 1 << 28


def of(bundle: Bundle, threads: int = 1) -> Codec:
    """The bundle's codec. Raises BundleError if this program does not know it or its parameters do not fit.

    `threads` are for the networks of a learned codec; others have none.
    """
    params = bundle.manifest.codec
    name = params.get("name")
    if name == LatentFeatures.name:
        return LatentFeatures.open(bundle, threads)
    if not isinstance(name, str) or name not in CODECS:
        known = sorted({*CODECS, LatentFeatures.name})
        raise BundleError(f"the [codec] of {bundle!r} is {name!r}; this program knows {known}: update it")
    arrays = arrays_file.read(bundle.file(ARRAYS), MAX_ARRAY_BYTES) if ARRAYS in bundle.manifest.files else {}
    try:
        return CODECS[name].from_params(params, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as e:
        raise BundleError(f"the [codec] table of {bundle!r} does not fit codec {name!r}: {e!r}") from e
