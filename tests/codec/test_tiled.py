"""Tiles: the kernel is the reference, each is a latent by itself, and any may be missing, moved or damaged."""

from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.codec import _kernel, tiled
from common.codec.coded_tiles import LONGEST, CodedTiles, read_lengths, reader, written, written_lengths
from common.codec.elements import Cells
from common.codec.rans import TOTAL
from common.codec.tiled import TiledCoder, TileGrid
from common.codec.values import CENTRE, EachDecoder, Rows
from common.errors import BitstreamError
from tests.codec.latent_samples import coder, latent, order_of, reference, rows


class Case(NamedTuple):
    tiles: TiledCoder
    grid: TileGrid
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    context: NDArray[np.int32] | None
    quality: int

    def encode(self) -> bytes:
        return self.tiles.encode(self.y, self.z, self.quality, self.grid, self.context)

    def decode(self, payload: bytes) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        return self.tiles.decode(self.tiles.parse(payload, self.grid), self.grid, self.context)

    def by_reference(self) -> "Case":
        return self._replace(tiles=TiledCoder(reference(self.tiles.coder)))


def case(
    rows: int,
    columns: int,
    quality: int = 300,
    context: int = 3,
    channels: int = 7,
    halvings: int = 2,
    passes: bool = False,
) -> Case:
    seed = rows * 100 + columns
    order = order_of(np.random.default_rng(seed + quality), channels) if passes else None
    rng, inner = np.random.default_rng(seed), coder(seed, channels, 4, halvings, context, order)
    of = TiledCoder(inner)
    grid = of.grid(rows, columns)
    height, width = grid.down * of.side, grid.across * of.side
    y, z = latent(rng, inner, height, width)
    known = rng.integers(-50, 5000, (context, height, width), np.int32) if context else None
    return Case(of, grid, y, z, known, quality)


def seen(c: Case, fixed: NDArray[np.int32]) -> NDArray[np.int32]:
    return fixed[:, : c.grid.rows, : c.grid.columns]


cases = st.builds(
    case,
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(40, 700),
    st.sampled_from([0, 3, 4]),
    st.sampled_from([1, 7, 20]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)


# ---- Both ways -----------------------------------------------------------------------------------------------------


@given(cases)
@settings(max_examples=40)
def test_the_kernel_is_the_reference(c: Case) -> None:
    payload = c.encode()
    assert payload == c.by_reference().encode()
    found, there = c.decode(payload)
    assert there.all()
    by_reference = c.by_reference().decode(payload)
    assert np.array_equal(found, by_reference[0]) and by_reference[1].all()


@given(cases)
@settings(max_examples=40)
def test_each_tile_is_a_latent_by_itself(c: Case) -> None:
    """What comes back of one is what codec 5 would give of it alone, but for its bytes.

    Passes of a tile that is cut by the picture's edge see cells that are not coded, those of a latent do not.
    """
    found, _ = c.decode(c.encode())
    side = c.tiles.side
    for number in range(c.grid.count):
        top, left = side * (number // c.grid.across), side * (number % c.grid.across)
        part = slice(None), slice(top, top + side), slice(left, left + side)
        cells = Cells(0, 0, min(side, c.grid.rows - top), min(side, c.grid.columns - left))
        z = c.z[:, number // c.grid.across, number % c.grid.across, None, None]
        context = None if c.context is None else np.ascontiguousarray(c.context[part])
        _, expected = c.tiles.coder.encode(np.ascontiguousarray(c.y[part]), z, c.quality, cells, context)
        if len(c.tiles.coder.passes) == 1 or cells == (0, 0, side, side):
            assert np.array_equal(found[part], expected)


def test_what_is_beyond_the_picture_does_not_travel() -> None:
    c = case(5, 6, passes=True)
    y = np.full_like(c.y, 77)
    seen(c, y)[:] = seen(c, c.y)
    assert c._replace(y=y).encode() == c.encode()
    found, _ = c.decode(c.encode())
    assert seen(c, found).any()
    seen(c, found)[:] = 0
    assert not found.any()


@pytest.mark.parametrize("passes", [False, True])
def test_many_tiles_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch, passes: bool) -> None:
    c = case(30, 27, passes=passes)
    payload = c.encode()
    expected = c.decode(payload)[0]
    monkeypatch.setattr(tiled, "BATCH", 5)
    assert c.encode() == payload
    assert np.array_equal(c.decode(payload)[0], expected)


def test_a_tile_of_nothing_costs_seven_bytes() -> None:
    c = case(8, 4)
    silent = np.zeros_like(c.tiles.coder.model.rows.tables.frequencies)
    silent[:, CENTRE] = TOTAL
    c.tiles.coder.model = replace(c.tiles.coder.model, rows=Rows(np.zeros(len(silent), np.uint8), silent))
    assert len(c.encode()) == 2 + 2 * 7
    assert c.decode(c.encode())[1].all()


def test_rows_stay_in_their_batch() -> None:
    """Vector instructions or none: the same tiles."""
    c = case(9, 5, channels=20)
    payload, (expected, _) = c.encode(), c.decode(c.encode())
    _kernel.rans_vector(0)
    try:
        assert c.encode() == payload
        assert np.array_equal(c.decode(payload)[0], expected)
    finally:
        _kernel.rans_vector(1)


# ---- Tiles that are missing ----------------------------------------------------------------------------------------


@given(cases, st.randoms())
@settings(max_examples=30)
def test_any_tiles_may_be_missing(c: Case, rng: Random) -> None:
    tiles = c.tiles.parse(c.encode(), c.grid)
    whole = c.decode(c.encode())[0]
    kept = [number for number in range(c.grid.count) if rng.random() < 0.5]
    payload = tiles.only(kept).pack()
    found, there = c.decode(payload)
    assert np.flatnonzero(there).tolist() == kept
    mask = there.repeat(c.tiles.side, 0).repeat(c.tiles.side, 1)
    assert np.array_equal(found, np.where(mask, whole, 0))
    rest = tiles.only(set(range(c.grid.count)) - set(kept))
    for one, other in ((c.tiles.parse(payload, c.grid), rest), (rest, c.tiles.parse(payload, c.grid))):
        assert one.joined(other).pack() == tiles.pack()


def damaged(tiles: CodedTiles) -> int:
    return sum(not tiles.sound(number) for number in tiles.tiles)


def test_a_damaged_tile_gives_way_to_a_sound_one() -> None:
    c = case(8, 8)
    payload = c.encode()
    sound, bad = c.tiles.parse(payload, c.grid), c.tiles.parse(payload[:-1] + bytes([payload[-1] ^ 8]), c.grid)
    assert (damaged(sound), damaged(bad)) == (0, 1)
    assert bad.joined(sound).pack() == sound.joined(bad).pack() == payload
    assert bad.joined(bad).pack() == bad.pack()
    assert damaged(bad.joined(sound.only([0]))) == 1
    found, there = c.decode(bad.pack())
    assert there.ravel().tolist() == [True, True, True, False]
    whole = c.decode(payload)[0]
    assert np.array_equal(found[:, :4], whole[:, :4]) and not found[:, 4:, 4:].any()


def test_a_tile_elsewhere_or_of_another_quality_is_damaged() -> None:
    c = case(8, 8)
    tiles = c.tiles.parse(c.encode(), c.grid)
    moved = CodedTiles(tiles.quality, tiles.count, {0: tiles.tiles[3], 3: tiles.tiles[0]})
    assert damaged(moved) == 2 and not c.decode(moved.pack())[1].any()
    other = CodedTiles(tiles.quality + 1, tiles.count, tiles.tiles)
    assert damaged(other) == 4 and not c.decode(other.pack())[1].any()


def test_tiles_of_other_pictures_or_qualities_do_not_go_together() -> None:
    one = CodedTiles.of(5, 2, {0: b"abcd"})
    for other in (CodedTiles.of(6, 2, {}), CodedTiles.of(5, 3, {})):
        with pytest.raises(ValueError, match=r"tiles: expected 2 of quality 5, got"):
            one.joined(other)


# ---- Bytes ---------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 40), st.integers(1, LONGEST - 1)), st.integers(41, 60))
def test_lengths_come_back_and_have_one_way_to_be_written(lengths: dict[int, int], count: int) -> None:
    data = b"qq" + written_lengths(dict(sorted(lengths.items())), count)
    assert read_lengths(data, count) == (dict(sorted(lengths.items())), len(data))


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, LONGEST - 1])
def test_numbers(number: int) -> None:
    data = written(number)
    assert len(data) == max(1, -(-number.bit_length() // 7))
    assert reader(data + b"x", 0)() == (number, len(data))


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (b"\x81", "tiles: expected a number, got the end"),
        (b"\x80\x01", "tiles: expected a number as short as can be"),
        (b"\xff\xff\xff\x01", "tiles: expected a number of 3 bytes at most"),
        (b"\0\0\0\0", "tiles: expected all that are not here in a row as one"),
        (b"\0\x04", "tiles: expected at most 4 more, got 5"),
        (b"\0\xff\xff\x7f", "tiles: expected at most 4 more"),
        (b"\0\x02\x05\0\0\0\0\0", "tiles: expected 12 bytes, got 10"),
        (b"\0\x03\0\0", "tiles: expected 4 bytes, got 6"),
    ],
)
def test_lists_that_cannot_be_are_said(lengths: bytes, said: str) -> None:
    with pytest.raises(BitstreamError, match=said):
        CodedTiles.parse(b"\x01\x02" + lengths, 4)


def test_a_long_list_asks_for_no_memory() -> None:
    """Three bytes say two million bytes; nothing is made of them before all are there."""
    with pytest.raises(BitstreamError, match="tiles: expected"):
        CodedTiles.parse(b"\0\0" + b"\xff\xff\x7f" * 65536, 65536)


@pytest.mark.parametrize("payload", [b"", b"\1", b"\1\2"])
def test_a_payload_has_a_list(payload: bytes) -> None:
    with pytest.raises(BitstreamError, match="tiles: expected more than 2 bytes"):
        CodedTiles.parse(payload, 1)


def test_a_quality_that_there_is_none_of_is_said() -> None:
    c = case(4, 4)
    with pytest.raises(BitstreamError, match=r"quality: expected 40\.\.700, got 701"):
        c.tiles.parse((701).to_bytes(2, "big") + c.encode()[2:], c.grid)
    with pytest.raises(ValueError, match=r"quality: expected 40\.\.700, got 39"):
        c._replace(quality=39).encode()


@pytest.mark.parametrize("passes", [False, True])
def test_whatever_the_bytes_are_no_tile_harms_another(passes: bool) -> None:
    """Flipped bits, cut and stretched payloads: an error, or fewer tiles, and those that are left are as they were."""
    c, rng = case(9, 13, 400, passes=passes), Random(1)
    payload = c.encode()
    whole, refused, lost = c.decode(payload)[0], 0, 0
    for _ in range(400):
        data = bytearray(payload)
        for _ in range(rng.choice([1, 1, 4, 40])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))]
        try:
            found, there = c.decode(bytes(data))
        except BitstreamError:
            refused += 1
            continue
        mask = there.repeat(c.tiles.side, 0).repeat(c.tiles.side, 1)
        assert np.array_equal(found, np.where(mask, whole, 0))
        lost += int((~there).sum())
    assert refused > 20 and lost > 100


@pytest.mark.parametrize("passes", [False, True])
def test_tiles_whose_check_is_right_and_whose_values_are_not_are_damaged(passes: bool) -> None:
    """As somebody would make them who means harm: the kernel and the reference say the same of them."""
    c, rng = case(8, 8, 400, passes=passes), Random(2)
    tiles = c.tiles.parse(c.encode(), c.grid)
    for _ in range(60):
        streams = {number: bytearray(tile.stream) for number, tile in tiles.tiles.items()}
        for stream in streams.values():
            for _ in range(rng.choice([0, 1, 8])):
                stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            streams[1] = bytearray(rng.randbytes(rng.choice([1, 3, 4, 5, 4000])))
        payload = CodedTiles.of(tiles.quality, tiles.count, {n: bytes(s) for n, s in streams.items()}).pack()
        found, there = c.decode(payload)
        by_reference = c.by_reference().decode(payload)
        assert np.array_equal(found, by_reference[0]) and np.array_equal(there, by_reference[1])


# ---- The kernel's own checks ---------------------------------------------------------------------------------------


def test_the_kernel_refuses_what_does_not_fit() -> None:
    of = rows([1.0, 2.0])
    values, index = np.zeros(3, np.int32), np.zeros(3, np.uint16)
    for lengths, ends in (([[2, 2]], 1), ([[1, 2]], 0), ([[1, 2]], 3)):
        with pytest.raises(ValueError, match="expected"):
            _kernel.values_encode_each(
                values, index, np.array(lengths, np.uint32), of.tables.rows, of.bits, np.zeros(ends, np.uint32)
            )
    with pytest.raises(ValueError, match="sizes up to 1048576"):
        of.encode_each(values + (1 << 21), index, np.array([[1, 2]], np.uint32))
    decoder = EachDecoder([b"\0\1\0\0"], of)
    decoder.take(index, np.array([3], np.uint32))
    assert decoder.sound().shape == (1,)
    with pytest.raises(ValueError, match="lengths"):
        decoder.take(index, np.array([2], np.uint32))
    with pytest.raises(ValueError, match="index"):
        decoder.take(index + 2, np.array([3], np.uint32))
    for ends in ([3], [6], [0], [2, 4]):
        decoder.ends = np.array(ends, np.uint32)
        with pytest.raises(ValueError, match="ends: expected"):
            decoder.take(index, np.array([3], np.uint32))
