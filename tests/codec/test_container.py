"""The container: round trip, each field's legal range, and no byte that can change unnoticed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec import Container, Kind, Layer, Limits, _kernel, pack, unpack
from common.codec.container import HEADER, TABLE, crc32c, header_size
from common.errors import BitstreamError

FRAME = Container(b"bndl", 0, 4, 640, 480, [Layer(Kind.BASE, b"base layer"), Layer(3, b"")])


@st.composite
def containers(draw: st.DrawFn) -> Container:
    byte, side = st.integers(0, 255), st.integers(1, 2000)
    kinds = sorted(draw(st.sets(byte, min_size=1, max_size=8)))
    return Container(
        bundle=draw(st.binary(min_size=4, max_size=4)),
        codec=draw(st.integers(0, 127)),
        quality=draw(st.integers(0, 65535)),
        width=draw(side),
        height=draw(side),
        layers=[Layer(kind, draw(st.binary(max_size=50))) for kind in kinds],
        keyframe=draw(st.booleans()),
    )


def sealed(data: bytes, at: int, new: bytes) -> bytes:
    """The frame with some bytes replaced and the checksum put right."""
    data = data[:at] + new + data[at + len(new) :]
    head, body = data[: HEADER.size], data[TABLE:]
    return head + _kernel.crc32c(head + body).to_bytes(4, "big") + body


@given(containers())
def test_round_trip(frame: Container) -> None:
    data = pack(frame)
    assert unpack(data) == frame
    assert len(data) == header_size(len(frame.layers)) + sum(len(layer.payload) for layer in frame.layers)


def test_what_a_frame_costs_beside_its_layers() -> None:
    assert header_size(1) == 19
    assert header_size(3) == 19 + 2 * 4


@given(st.binary(max_size=100), st.integers(0, 100))
def test_crc32c_of_the_kernel_equals_the_reference(data: bytes, cut: int) -> None:
    assert _kernel.crc32c(data) == crc32c(data)
    assert _kernel.crc32c(data[cut:], _kernel.crc32c(data[:cut])) == crc32c(data)


def test_crc32c_check_values() -> None:
    """RFC 3720, B.4."""
    ascending = bytes(range(32))
    for data, value in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (ascending, 0x46DD794E)):
        assert crc32c(data) == _kernel.crc32c(data) == value
    assert crc32c(b"123456789") == 0xE3069283


@given(containers(), st.data())
def test_no_bit_can_change(frame: Container, draw: st.DataObject) -> None:
    data = bytearray(pack(frame))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(BitstreamError):
        unpack(bytes(data))


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    for noise in (data, pack(FRAME)[: min(len(data), len(pack(FRAME)) - 1)], pack(FRAME) + data + b"x"):
        with pytest.raises(BitstreamError):
            unpack(noise)


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, b"MS", "magic: expected b'Ms', got b'MS'"),
        (2, b"\x11", "version: expected 2, got 1"),
        (2, b"\x28", "layers: expected 1..8, got 9"),
        (2, b"\x24", "size: expected at least 35 bytes, got 33"),
        (10, b"\0\0", "width: expected 1..65535, got 0"),
        (12, b"\0\0", "height: expected 1..65535, got 0"),
        (10, b"\xff\xff\xff\xff", "picture: expected at most 67108864 pixels, got 4294836225"),
        (18, b"\3", r"layer kinds: expected strictly increasing, got \[3, 3\]"),
        (18, b"\4", r"layer kinds: expected strictly increasing, got \[4, 3\]"),
        (19, b"\xff\xff\xff", "size: expected at least 16777238 bytes, got 33"),
        (21, b"\x0b", "size: expected at least 34 bytes, got 33"),
    ],
)
def test_illegal_fields_are_named(at: int, new: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(pack(FRAME), at, new))


def test_every_byte_but_its_own_is_under_the_checksum() -> None:
    for at in range(3, len(pack(FRAME))):  # magic and version are looked at first
        data = bytearray(pack(FRAME))
        data[at] ^= 1
        with pytest.raises(BitstreamError, match="checksum: expected"):
            unpack(bytes(data))


def test_bytes_move_between_layers_with_their_lengths_only() -> None:
    """The last layer has no length of its own: it is what the others leave."""
    back = unpack(sealed(pack(FRAME), 21, b"\x04"))
    assert [layer.payload for layer in back.layers] == [b"base", b" layer"]


def test_limits() -> None:
    data = pack(FRAME)
    assert unpack(data, Limits(len(data), 2, 640 * 480)) == FRAME
    with pytest.raises(BitstreamError, match="size: expected at most 32 bytes, got 33"):
        unpack(data, Limits(max_bytes=len(data) - 1))
    with pytest.raises(BitstreamError, match=r"layers: expected 1..1, got 2"):
        unpack(data, Limits(max_layers=1))
    with pytest.raises(BitstreamError, match="picture: expected at most 307199 pixels, got 307200"):
        unpack(data, Limits(max_elements=640 * 480 - 1))


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": b"short"},
        {"codec": 128},
        {"quality": -1},
        {"quality": 65536},
        {"width": 0},
        {"height": 65536},
        {"layers": []},
        {"layers": [Layer(1, b""), Layer(1, b"")]},
        {"layers": [Layer(256, b"")]},
        {"layers": [Layer(kind, b"") for kind in range(17)]},
    ],
    ids=str,
)
def test_pack_refuses_what_unpack_would(change: dict) -> None:
    with pytest.raises(ValueError, match="outside its range"):
        pack(replace(FRAME, **change))
