"""Features (and, with other codecs, pictures) to layers of bytes and back.

A codec is a class with one signature for both halves, built from what the bundle says of it:

    from_params(params)         the [codec] section of bundle.toml
    encode(frame, quality)      edge:  -> [Layer], the base layer first
    decode(layers)              cloud: -> features and/or image

`container` wraps the layers of one frame; docs/bitstream.md is the law for all of it.
"""

try:
    from common.codec import _kernel  # noqa: F401 - for the message below
except ImportError as error:
    raise ImportError(
        "common.codec._kernel is not built: run `pip install .` in the source tree (it needs a C compiler)"
    ) from error

from common.codec.container import Container, Kind, Layer, Limits, pack, unpack
from common.codec.lightweight import Lightweight

CODECS = {Lightweight.name: Lightweight}

__all__ = ["CODECS", "Container", "Kind", "Layer", "Lightweight", "Limits", "pack", "unpack"]
