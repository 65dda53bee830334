"""A layer that is coded in tiles, as bytes: tiles are cut out and put together without decoding any.

     0         2
    +---------+---------------------------+---------------------------+-----------------------
    | quality | length of each tile ...   | check of each tile ...    | the tiles, one by one
    +---------+---------------------------+---------------------------+-----------------------

Where tiles are not here, a length of 0 and how many more in a row are not stand in their place. A check is 16 bits of a
CRC over the tile, its number and the quality, so a damaged tile is known without decoding, and one that was moved too.
What is in a tile is the matter of `common.codec.tiled`. docs/bitstream.md, "Tiles", is the normative text.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Self

from common.codec import _kernel
from common.codec.container import check

HEADER = Struct(">H")
CHECK = Struct(">H")
PLACE = Struct(">HI")
MOST_BYTES = 3
"""Of a number in the list of lengths."""
LONGEST = 1 << 7 * MOST_BYTES
"""No tile is as long."""


@dataclass(frozen=True, slots=True)
class CodedTile:
    """One tile's bytes, and what they should give when checked."""

    stream: bytes
    check: int


@dataclass(frozen=True, slots=True)
class CodedTiles:
    """Those tiles of a layer that are here, of `count`, by number: row by row from the upper left one, 0."""

    quality: int
    count: int
    tiles: Mapping[int, CodedTile]

    @classmethod
    def of(cls, quality: int, count: int, streams: Mapping[int, bytes]) -> Self:
        """Tiles just coded."""
        tiles = {number: CodedTile(stream, check_of(quality, number, stream)) for number, stream in streams.items()}
        return cls(quality, count, tiles)

    @classmethod
    def parse(cls, payload: bytes, count: int) -> Self:
        """Of a picture that has so many tiles. Raises BitstreamError unless `pack` writes it, but for the checks."""
        check(len(payload) > HEADER.size, "tiles", f"more than {HEADER.size} bytes", len(payload))
        (quality,) = HEADER.unpack_from(payload)
        lengths, at = read_lengths(payload, count)
        start = at + CHECK.size * len(lengths)
        size = start + sum(lengths.values())
        check(size == len(payload), "tiles", f"{size} bytes", len(payload))
        tiles = {}
        for number, length in lengths.items():
            (expected,) = CHECK.unpack_from(payload, at)
            tiles[number] = CodedTile(payload[start : start + length], expected)
            at, start = at + CHECK.size, start + length
        return cls(quality, count, tiles)

    def pack(self) -> bytes:
        """The layer's payload."""
        here = sorted(self.tiles.items())
        lengths = written_lengths({number: len(tile.stream) for number, tile in here}, self.count)
        checks = b"".join(CHECK.pack(tile.check) for _, tile in here)
        return b"".join([HEADER.pack(self.quality), lengths, checks, *(tile.stream for _, tile in here)])

    def sound(self, number: int) -> bool:
        """Whether a tile is here and passes its check."""
        tile = self.tiles.get(number)
        return tile is not None and tile.check == check_of(self.quality, number, tile.stream)

    def only(self, numbers: Iterable[int]) -> Self:
        """Without any but these."""
        return self._with({number: self.tiles[number] for number in sorted(numbers) if number in self.tiles})

    def joined(self, other: Self) -> Self:
        """Those of both. Where both have one, the first's, unless that is damaged and the other's is sound.

        ValueError for other qualities or pictures: their tiles do not go together.
        """
        if (other.quality, other.count) != (self.quality, self.count):
            expected = f"{self.count} of quality {self.quality}"
            raise ValueError(f"tiles: expected {expected}, got {other.count} of quality {other.quality}")
        kept = {number: tile for number, tile in self.tiles.items() if self.sound(number) or not other.sound(number)}
        return self._with({**other.tiles, **kept})

    def _with(self, tiles: Mapping[int, CodedTile]) -> Self:
        return type(self)(self.quality, self.count, tiles)


def check_of(quality: int, number: int, stream: bytes) -> int:
    """What a tile is checked by."""
    return _kernel.crc32c(stream, _kernel.crc32c(PLACE.pack(quality, number))) & 0xFFFF


# ---- lengths


def written_lengths(lengths: Mapping[int, int], count: int) -> bytes:
    """Of tiles by number, rising, of `count`."""
    parts, following = [], 0
    for number, length in [*lengths.items(), (count, 0)]:
        if number > following:
            parts += [written(0), written(number - following - 1)]
        if number < count:
            parts.append(written(length))
        following = number + 1
    return b"".join(parts)


def read_lengths(payload: bytes, count: int) -> tuple[dict[int, int], int]:
    """What was written behind the header, and where it ends. Raises BitstreamError."""
    take, lengths, number, missing = reader(payload, HEADER.size), {}, 0, False
    while number < count:
        length, at = take()
        if length:
            lengths[number] = length
            number, missing = number + 1, False
            continue
        more, at = take()
        check(not missing, "tiles", "all that are not here in a row as one", f"two numbers before tile {number}")
        check(more < count - number, "tiles", f"at most {count - number} more", more + 1)
        number, missing = number + 1 + more, True
    return lengths, at


def written(number: int) -> bytes:
    """A number below 2^21: seven bits a byte, the highest first, all but the last with the top bit."""
    if not 0 <= number < LONGEST:
        raise ValueError(f"tiles: expected numbers below {LONGEST}, got {number}")
    groups = [number & 127]
    while number := number >> 7:
        groups.append(number & 127 | 128)
    return bytes(reversed(groups))


def reader(payload: bytes, at: int) -> Callable[[], tuple[int, int]]:
    """Returns what reads the next number, and where it ends. That raises BitstreamError."""

    def take() -> tuple[int, int]:
        nonlocal at
        number = 0
        for place in range(MOST_BYTES):
            check(at < len(payload), "tiles", "a number", "the end")
            byte, at = payload[at], at + 1
            check(place > 0 or byte != 128, "tiles", "a number as short as can be", "a longer one")
            number = number << 7 | byte & 127
            if byte < 128:
                return number, at
        check(False, "tiles", f"a number of {MOST_BYTES} bytes at most", "a longer one")
        raise AssertionError

    return take
