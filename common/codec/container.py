"""One frame as bytes: a header, a table of layers, the layers. It knows nothing of what is inside a layer.

     0         2     3     4                 12    13    14        16      18       20
    +---------+-----+-----+-----------------+-----+-----+---------+-------+--------+
    | "Ms"    | ver | flg | bundle          | cdc | n   | quality | width | height |
    +---------+-----+-----+-----------------+-----+-----+---------+-------+--------+
    | kind | length (24)  | CRC32C of layer |   n times, 8 bytes each
    +------+--------------+-----------------+
    | CRC32C of all above | layer | layer ...
    +---------------------+-------+-------

Integers are big-endian. docs/bitstream.md, "Container", lists the same fields in the same order.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from struct import Struct

from common.codec import _kernel
from common.errors import BitstreamError

MAGIC = b"Ms"
VERSION = 1
KEYFRAME = 1

HEADER = Struct(">2sBB8sBBHHH")
ENTRY = Struct(">II")  # kind << 24 | length, checksum
CHECKSUM = Struct(">I")


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

    bundle: bytes  # the first 8 bytes of the bundle's digest
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
    """Every byte of a container that is not a layer: 32 for one layer."""
    return HEADER.size + layers * ENTRY.size + CHECKSUM.size


def pack(container: Container) -> bytes:
    """Raise ValueError if a field does not fit its place in the header."""
    c = container
    kinds = [layer.kind for layer in c.layers]
    fits = (
        len(c.bundle) == 8
        and 0 <= c.codec < 256
        and 0 <= c.quality < 1 << 16
        and 0 < c.width < 1 << 16
        and 0 < c.height < 1 << 16
        and 0 < len(kinds) < 256
        and all(0 <= kind < 256 for kind in kinds)
        and all(low < high for low, high in pairwise(kinds))
        and all(len(layer.payload) < 1 << 24 for layer in c.layers)
    )
    if not fits:
        raise ValueError(f"container: a field is outside its range: {c!r:.300}")
    flags = KEYFRAME if c.keyframe else 0
    head = HEADER.pack(MAGIC, VERSION, flags, c.bundle, c.codec, len(kinds), c.quality, c.width, c.height)
    table = [ENTRY.pack(layer.kind << 24 | len(layer.payload), _kernel.crc32c(layer.payload)) for layer in c.layers]
    head += b"".join(table)
    return b"".join([head, CHECKSUM.pack(_kernel.crc32c(head)), *(layer.payload for layer in c.layers)])


LIMITS = Limits()


def unpack(data: bytes, limits: Limits = LIMITS) -> Container:
    """Validate everything, then build. Whatever is wrong is a BitstreamError that names the field."""
    check(len(data) >= header_size(1), "size", f"at least {header_size(1)} bytes", len(data))
    check(len(data) <= limits.max_bytes, "size", f"at most {limits.max_bytes} bytes", len(data))
    magic, version, flags, bundle, codec, count, quality, width, height = HEADER.unpack_from(data)
    check(magic == MAGIC, "magic", MAGIC, magic)
    check(version == VERSION, "version", VERSION, version)
    check(1 <= count <= limits.max_layers, "layers", f"1..{limits.max_layers}", count)
    start = header_size(count)
    check(len(data) >= start, "size", f"at least {start} bytes", len(data))
    (checksum,) = CHECKSUM.unpack_from(data, start - CHECKSUM.size)
    actual = _kernel.crc32c(data[: start - CHECKSUM.size])
    check(checksum == actual, "header checksum", f"{actual:08x}", f"{checksum:08x}")
    check(flags & ~KEYFRAME == 0, "flags", "reserved bits 0", flags)
    check(width > 0, "width", "1..65535", width)
    check(height > 0, "height", "1..65535", height)
    check(width * height <= limits.max_elements, "picture", f"at most {limits.max_elements} pixels", width * height)
    layers = read_layers(data, count, start)
    return Container(bundle, codec, quality, width, height, layers, bool(flags & KEYFRAME))


def read_layers(data: bytes, count: int, start: int) -> list[Layer]:
    """The table's lengths must add up to the data before any layer is cut out of it."""
    table = [ENTRY.unpack_from(data, HEADER.size + i * ENTRY.size) for i in range(count)]
    kinds = [entry >> 24 for entry, _ in table]
    sizes = [entry & 0xFFFFFF for entry, _ in table]
    check(all(low < high for low, high in pairwise(kinds)), "layer kinds", "strictly increasing", kinds)
    check(start + sum(sizes) == len(data), "size", f"{start + sum(sizes)} bytes", len(data))
    layers = []
    for kind, size, (_, checksum) in zip(kinds, sizes, table, strict=True):
        payload = bytes(data[start : start + size])
        actual = _kernel.crc32c(payload)
        check(checksum == actual, f"checksum of layer {kind}", f"{actual:08x}", f"{checksum:08x}")
        layers.append(Layer(kind, payload))
        start += size
    return layers


def check(holds: bool, field: str, expected: object, got: object) -> None:
    """Every message of the format has this one shape."""
    if not holds:
        raise BitstreamError(f"{field}: expected {expected}, got {got}")
