"""A sequence as chunks: a header, the frames in order, each a base layer and perhaps an enhancement, an end.

     0      1       5        9        13
    +------+-------+--------+--------+-------------
    | type | frame | length | CRC32C | payload ...      all of it in the checksum but the checksum itself
    +------+-------+--------+--------+-------------

What follows a base chunk can be left out: base layers alone are a sequence, too. docs/bitstream.md, "Sequences", lists
the same fields in the same order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from common.codec import _kernel
from common.codec.container import check

MAGIC = b"MsV1"
HEAD = Struct(">BII")
CHECKSUM = Struct(">I")
OPENING = HEAD.size + CHECKSUM.size
SEQUENCE = Struct(">4sHHHB6s")
ENHANCEMENT = Struct(">BI")
COUNT = Struct(">I")
KEY, FUSED = 1, 2
"""Flags of an enhancement."""
NO_FUSION = bytes(6)
MOST_QUANTISER = 63


class Type(IntEnum):
    """Of a chunk."""

    SEQUENCE = 1
    BASE = 2
    ENHANCEMENT = 3
    END = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sequence may ask for before it is believed."""

    max_chunk: int = 1 << 24
    max_frames: int = 1 << 16
    max_pixels: int = 1 << 23


LIMITS = Limits()


class Chunk(NamedTuple):
    """One, checked against its CRC."""

    type: Type
    frame: int
    payload: bytes


class Header(NamedTuple):
    """What holds for all frames. Raises ValueError where it is packed if a field does not fit."""

    width: int
    height: int
    period: int
    """Enhancements of one frame in so many, from the first on, are key frames; others are not."""
    quantiser: int
    """0 to 63, of the video: what the fusion is told."""
    fusion: bytes
    """Name of the network that frames are fused by; NO_FUSION: none is."""


class Enhancement(NamedTuple):
    """What shows a frame, above its base layer or not."""

    key: bool
    """Whether the video decodes from here on."""
    fused: bool
    checksum: int
    """CRC32C of the reconstructed planes."""
    data: bytes
    """A temporal unit of AV1."""


class Frame(NamedTuple):
    """The chunks of one frame."""

    number: int
    base: bytes
    """A container (docs/bitstream.md, section 1)."""
    enhancement: Enhancement | None


def pack(kind: Type, frame: int, payload: bytes) -> bytes:
    """One chunk."""
    head = HEAD.pack(kind, frame, len(payload))
    return b"".join([head, CHECKSUM.pack(_kernel.crc32c(payload, _kernel.crc32c(head))), payload])


def opening(header: Header) -> bytes:
    """The chunk that a sequence begins with."""
    h = header
    sides = 0 < h.width < 1 << 16 and 0 < h.height < 1 << 16
    if not (sides and 0 < h.period < 1 << 16 and 0 <= h.quantiser <= MOST_QUANTISER and len(h.fusion) == 6):
        raise ValueError(f"sequence: a field is outside its range: {h}")
    return pack(Type.SEQUENCE, 0, SEQUENCE.pack(MAGIC, *h))


def packed(frame: Frame) -> bytes:
    """The chunks of a frame."""
    base, e = pack(Type.BASE, frame.number, frame.base), frame.enhancement
    if e is None:
        return base
    flags = KEY * e.key | FUSED * e.fused
    return base + pack(Type.ENHANCEMENT, frame.number, ENHANCEMENT.pack(flags, e.checksum) + e.data)


def closing(frames: int) -> bytes:
    """The chunk that a sequence of so many frames ends with: what is cut off before it is known to be."""
    return pack(Type.END, frames, COUNT.pack(frames))


def read(data: bytes, limits: Limits = LIMITS) -> tuple[Header, list[Frame]]:
    """All of a sequence; enhancements are not decoded. Raises BitstreamError that names what is wrong, and where."""
    chunks = iterate(data, limits)
    header = _header(next(chunks, None), limits)
    frames: list[Frame] = []
    known = False  # whether the frame before has an enhancement
    for chunk in chunks:
        if chunk.type == Type.BASE:
            check(chunk.frame == len(frames), "frame", f"base layer {len(frames)}", chunk.frame)
            check(len(frames) < limits.max_frames, "frames", f"at most {limits.max_frames}", "more")
            known = bool(frames) and frames[-1].enhancement is not None
            frames.append(Frame(chunk.frame, chunk.payload, None))
        elif chunk.type == Type.ENHANCEMENT:
            frames[-1:] = [_enhanced(frames, chunk, header.period, known)]
        elif chunk.type == Type.END:
            check(_count(chunk) == len(frames), "end", f"{len(frames)} frames", _count(chunk))
            check(next(chunks, None) is None, "end", "nothing behind it", "more")
            return header, frames
        else:
            check(False, "chunk", "one sequence header, at the start", f"another before frame {len(frames)}")
    check(False, "sequence", "an end", f"none after {len(frames)} frames: it was cut off")
    raise AssertionError


def base_alone(data: bytes, limits: Limits = LIMITS) -> bytes:
    """The sequence without its enhancements. Raises BitstreamError."""
    header, frames = read(data, limits)
    parts = (packed(frame._replace(enhancement=None)) for frame in frames)
    return b"".join([opening(header), *parts, closing(len(frames))])


def written(header: Header, frames: Iterable[Frame]) -> Iterator[bytes]:
    """The chunks of a whole sequence, frame by frame."""
    yield opening(header)
    count = 0
    for frame in frames:
        yield packed(frame)
        count += 1
    yield closing(count)


def iterate(data: bytes, limits: Limits = LIMITS) -> Iterator[Chunk]:
    """Chunk by chunk. Raises BitstreamError where one is cut off or damaged."""
    at, view = 0, memoryview(data)
    while at < len(data):
        check(len(data) - at >= OPENING, "chunk", f"{OPENING} bytes at {at}", len(data) - at)
        kind, frame, length = HEAD.unpack_from(data, at)
        check(kind in tuple(Type), "chunk type", f"1..4 at {at}", kind)
        check(length <= limits.max_chunk, "chunk length", f"at most {limits.max_chunk}", length)
        end = at + OPENING + length
        check(end <= len(data), "chunk length", f"at most {len(data) - at - OPENING} at {at}", length)
        (said,) = CHECKSUM.unpack_from(data, at + HEAD.size)
        payload = bytes(view[at + OPENING : end])
        found = _kernel.crc32c(payload, _kernel.crc32c(bytes(view[at : at + HEAD.size])))
        check(found == said, "chunk checksum", f"{said:08x} at {at}", f"{found:08x}")
        yield Chunk(Type(kind), frame, payload)
        at = end


def _header(chunk: Chunk | None, limits: Limits) -> Header:
    check(chunk is not None and chunk.type == Type.SEQUENCE, "sequence", "a header first", chunk and chunk.type.name)
    assert chunk is not None
    check(chunk.frame == 0, "sequence header", "frame 0", chunk.frame)
    check(len(chunk.payload) == SEQUENCE.size, "sequence header", f"{SEQUENCE.size} bytes", len(chunk.payload))
    magic, *fields = SEQUENCE.unpack(chunk.payload)
    check(magic == MAGIC, "sequence header", MAGIC, magic)
    header = Header(*fields)
    width, height = header.width, header.height
    check(width > 0 and height > 0, "size", "sides of at least 1", f"{width} x {height}")
    check(width * height <= limits.max_pixels, "size", f"at most {limits.max_pixels} pixels", f"{width} x {height}")
    check(header.period > 0, "period", "at least 1", header.period)
    check(header.quantiser <= MOST_QUANTISER, "quantiser", f"at most {MOST_QUANTISER}", header.quantiser)
    return header


def _enhanced(frames: list[Frame], chunk: Chunk, period: int, known: bool) -> Frame:
    last = frames[-1] if frames else None
    there = last is not None and last.number == chunk.frame and last.enhancement is None
    check(there, "frame", "an enhancement right behind its base layer", f"one of frame {chunk.frame}")
    assert last is not None
    check(len(chunk.payload) > ENHANCEMENT.size, "enhancement", f"more than {ENHANCEMENT.size} bytes", "fewer")
    flags, checksum = ENHANCEMENT.unpack_from(chunk.payload)
    check(flags <= KEY | FUSED, "enhancement", "flags of 0 to 3", flags)
    key = bool(flags & KEY)
    due = chunk.frame % period == 0
    check(key == due, "enhancement", f"one key frame in {period}", f"{'one' if key else 'none'} at {chunk.frame}")
    check(key or known, "enhancement", "the one before it", f"none before that of frame {chunk.frame}")
    data = chunk.payload[ENHANCEMENT.size :]
    return last._replace(enhancement=Enhancement(key, bool(flags & FUSED), checksum, data))


def _count(chunk: Chunk) -> int:
    check(len(chunk.payload) == COUNT.size, "end", f"{COUNT.size} bytes", len(chunk.payload))
    (count,) = COUNT.unpack(chunk.payload)
    check(count == chunk.frame, "end", f"{chunk.frame} frames, twice", count)
    return int(count)
