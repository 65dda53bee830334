"""One frame as bytes: a header, the layers. It knows nothing of what is inside a layer.

     0         2     3     4              8         10      12       14
    +---------+-----+-----+--------------+---------+-------+--------+-----------------------+
    | "Ms"    | v n | k c | bundle       | quality | width | height | CRC32C of all but it  |
    +------+--+-----+-----+--------------+---------+-------+--------+-----------------------+
    | kind | length |  n - 1 times, 4 bytes each
    +------+-------++------+----
    | kind | layer | layer | ...
    +------+-------+-------+----

One byte holds version and number of layers, the next keyframe flag and codec. Most frames have one layer, so its
length is not written: the last layer reaches to the end. Integers are big-endian. docs/bitstream.md, "Container",
lists the same fields in the same order.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from struct import Struct

from common.codec import _kernel
from common.errors import BitstreamError

MAGIC = b"Ms"
VERSION = 2
KEYFRAME = 0x80
PREFIX_BYTES = 4
"""How much of a bundle's digest a container carries: enough to tell apart the bundles that one cloud holds."""

HEADER = Struct(">2sBB4sHHH")
CHECKSUM = Struct(">I")
ENTRY = Struct(">I")  # kind << 24 | length
TABLE = HEADER.size + CHECKSUM.size  # where the entries begin


class Kind(IntEnum):
    """What a layer is for. Enhancements are numbered upwards from 1, each needing those below it."""

    BASE = 0
    ENHANCEMENT = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """Bytes that the codec understands; `kind` is `Kind` or a higher enhancement, up to 255."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Container:
    """One frame. `width` and `height` are those of the picture that the edge saw, in pixels."""

    bundle: bytes  # the first PREFIX_BYTES of the bundle's digest
    codec: int
    quality: int
    width: int
    height: int
    layers: list[Layer]
    keyframe: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may ask for before it is believed. `max_elements` bounds width x height."""

    max_bytes: int = 1 << 24
    max_layers: int = 8
    max_elements: int = 1 << 26


def crc32c(data: bytes) -> int:
    """The reference for the kernel's: Castagnoli's polynomial, reflected, complemented at both ends."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def header_size(layers: int) -> int:
    """Every byte of a container that is not a layer: 19 for one layer."""
    return TABLE + (layers - 1) * ENTRY.size + 1


def pack(container: Container) -> bytes:
    """Raise ValueError if a field does not fit its place in the header."""
    c = container
    kinds = [layer.kind for layer in c.layers]
    fits = (
        len(c.bundle) == PREFIX_BYTES
        and 0 <= c.codec < 128
        and 0 <= c.quality < 1 << 16
        and 0 < c.width < 1 << 16
        and 0 < c.height < 1 << 16
        and 0 < len(kinds) <= 16
        and all(0 <= kind < 256 for kind in kinds)
        and all(low < high for low, high in pairwise(kinds))
        and all(len(layer.payload) < 1 << 24 for layer in c.layers)
    )
    if not fits:
        raise ValueError(f"container: a field is outside its range: {c!r:.300}")
    counts, flags = VERSION << 4 | len(kinds) - 1, KEYFRAME if c.keyframe else 0
    head = HEADER.pack(MAGIC, counts, flags | c.codec, c.bundle, c.quality, c.width, c.height)
    table = [ENTRY.pack(layer.kind << 24 | len(layer.payload)) for layer in c.layers[:-1]]
    body = b"".join([*table, bytes(kinds[-1:]), *(layer.payload for layer in c.layers)])
    return b"".join([head, CHECKSUM.pack(_kernel.crc32c(body, _kernel.crc32c(head))), body])


LIMITS = Limits()


def unpack(data: bytes, limits: Limits = LIMITS) -> Container:
    """Validate everything, then build. Whatever is wrong is a BitstreamError that names the field."""
    check(len(data) >= header_size(1), "size", f"at least {header_size(1)} bytes", len(data))
    check(len(data) <= limits.max_bytes, "size", f"at most {limits.max_bytes} bytes", len(data))
    magic, counts, flags, bundle, quality, width, height = HEADER.unpack_from(data)
    check(magic == MAGIC, "magic", MAGIC, magic)
    check(counts >> 4 == VERSION, "version", VERSION, counts >> 4)
    (checksum,) = CHECKSUM.unpack_from(data, HEADER.size)
    actual = _kernel.crc32c(memoryview(data)[TABLE:], _kernel.crc32c(data[: HEADER.size]))
    check(checksum == actual, "checksum", f"{actual:08x}", f"{checksum:08x}")
    count = (counts & 15) + 1
    check(count <= limits.max_layers, "layers", f"1..{limits.max_layers}", count)
    check(len(data) >= header_size(count), "size", f"at least {header_size(count)} bytes", len(data))
    check(width > 0, "width", "1..65535", width)
    check(height > 0, "height", "1..65535", height)
    check(width * height <= limits.max_elements, "picture", f"at most {limits.max_elements} pixels", width * height)
    layers = read_layers(data, count)
    return Container(bundle, flags & ~KEYFRAME, quality, width, height, layers, bool(flags & KEYFRAME))


def read_layers(data: bytes, count: int) -> list[Layer]:
    """The table's lengths must fit the data before any layer is cut out of it; the last layer is what is left."""
    table = [ENTRY.unpack_from(data, TABLE + i * ENTRY.size)[0] for i in range(count - 1)]
    start = header_size(count)
    kinds = [*(entry >> 24 for entry in table), data[start - 1]]
    sizes = [entry & 0xFFFFFF for entry in table]
    check(all(low < high for low, high in pairwise(kinds)), "layer kinds", "strictly increasing", kinds)
    check(start + sum(sizes) <= len(data), "size", f"at least {start + sum(sizes)} bytes", len(data))
    layers = []
    for kind, size in zip(kinds, [*sizes, len(data) - start - sum(sizes)], strict=True):
        layers.append(Layer(kind, bytes(data[start : start + size])))
        start += size
    return layers


def check(holds: bool, field: str, expected: object, got: object) -> None:
    """Every message of the format has this one shape."""
    if not holds:
        raise BitstreamError(f"{field}: expected {expected}, got {got}")
