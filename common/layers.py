"""What edge and cloud say to each other when somebody wants to look: names of layers, and what is asked for."""

import zlib
from collections.abc import Collection, Iterable

from common.codec.container import Layer

BASE = "base"
LOW = "low"
FULL = "full"
CLEAN = "clean"
NOISY = "noisy"
MASK = "mask"
ORIGINAL = "original"
NAMES = (BASE, LOW, CLEAN, MASK, FULL, NOISY, ORIGINAL)
"""Each bundle has some of them."""

MOST_REGIONS = 64
"""Of one request: more are as good as the whole picture."""

_MEANT = {BASE: (LOW, CLEAN), FULL: (NOISY,)}


def meant(name: str, there: Collection[str]) -> str:
    """The one of the layers that are `there` which this name means: `base` is the least that shows a picture, `full`
    all that there is. A name that means none of them is given back as it is.
    """
    if name in there:
        return name
    return next((other for other in _MEANT.get(name, ()) if other in there), name)


def quality_of(layer: Layer) -> int:
    """The quality that a layer above the base was coded in, which it begins with; 0 of one that is too short to say."""
    return int.from_bytes(layer.payload[:2], "big") if len(layer.payload) >= 2 else 0


def checksum(layers: Iterable[Layer]) -> int:
    """CRC-32 of the payloads, one after the other: by it two sides know whether they have the same layers."""
    crc = 0
    for layer in layers:
        crc = zlib.crc32(layer.payload, crc)
    return crc
