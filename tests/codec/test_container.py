"""The container: round trip, each field's legal range, and no byte that can change unnoticed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec import Container, Kind, Layer, Limits, _kernel, pack, unpack
from common.codec.container import crc32c, header_size
from common.errors import BitstreamError

FRAME = Container(b"bundle01", 0, 4, 640, 480, [Layer(Kind.BASE, b"base layer"), Layer(3, b"")])
HEADER = header_size(2) - 4  # what the header's checksum covers


@st.composite
def containers(draw: st.DrawFn) -> Container:
    byte, side = st.integers(0, 255), st.integers(1, 2000)
    kinds = sorted(draw(st.sets(byte, min_size=1, max_size=8)))
    return Container(
        bundle=draw(st.binary(min_size=8, max_size=8)),
        codec=draw(byte),
        quality=draw(st.integers(0, 65535)),
        width=draw(side),
        height=draw(side),
        layers=[Layer(kind, draw(st.binary(max_size=50))) for kind in kinds],
        keyframe=draw(st.booleans()),
    )


def sealed(data: bytes, at: int, new: bytes) -> bytes:
    """The frame with some bytes of its header replaced and the header's checksum put right."""
    head = (data[:at] + new + data[at + len(new) :])[:HEADER]
    return head + _kernel.crc32c(head).to_bytes(4, "big") + data[HEADER + 4 :]


@given(containers())
def test_round_trip(frame: Container) -> None:
    data = pack(frame)
    assert unpack(data) == frame
    assert len(data) == header_size(len(frame.layers)) + sum(len(layer.payload) for layer in frame.layers)


def test_one_layer_costs_32_bytes() -> None:
    assert header_size(1) == 32


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
    for noise in (data, pack(FRAME)[: len(data)], pack(FRAME) + data + b"x"):
        with pytest.raises(BitstreamError):
            unpack(noise)


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, b"MS", "magic: expected b'Ms', got b'MS'"),
        (2, b"\2", "version: expected 1, got 2"),
        (3, b"\2", "flags: expected reserved bits 0, got 2"),
        (3, b"\x81", "flags: expected reserved bits 0, got 129"),
        (13, b"\0", r"layers: expected 1..8, got 0"),
        (13, b"\x09", r"layers: expected 1..8, got 9"),
        (13, b"\x05", "size: expected at least 64 bytes, got 50"),
        (16, b"\0\0", r"width: expected 1..65535, got 0"),
        (18, b"\0\0", r"height: expected 1..65535, got 0"),
        (16, b"\xff\xff\xff\xff", "picture: expected at most 67108864 pixels, got 4294836225"),
        (20, b"\3", r"layer kinds: expected strictly increasing, got \[3, 3\]"),
        (20, b"\4", r"layer kinds: expected strictly increasing, got \[4, 3\]"),
        (21, b"\xff\xff\xff", "size: expected 16777255 bytes, got 50"),
        (23, b"\x09", "size: expected 49 bytes, got 50"),
        (24, b"\0\0\0\0", r"checksum of layer 0: expected \w{8}, got 00000000"),
        (32, b"\0\0\0\1", r"checksum of layer 3: expected 00000000, got 00000001"),
    ],
)
def test_illegal_fields_are_named(at: int, new: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(pack(FRAME), at, new))


def test_the_header_has_its_own_checksum() -> None:
    data = bytearray(pack(FRAME))
    data[15] ^= 1  # quality: any value is legal
    with pytest.raises(BitstreamError, match="header checksum"):
        unpack(bytes(data))


def test_limits() -> None:
    data = pack(FRAME)
    assert unpack(data, Limits(len(data), 2, 640 * 480)) == FRAME
    with pytest.raises(BitstreamError, match="size: expected at most 49 bytes, got 50"):
        unpack(data, Limits(max_bytes=len(data) - 1))
    with pytest.raises(BitstreamError, match=r"layers: expected 1..1, got 2"):
        unpack(data, Limits(max_layers=1))
    with pytest.raises(BitstreamError, match="picture: expected at most 307199 pixels, got 307200"):
        unpack(data, Limits(max_elements=640 * 480 - 1))


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": b"short"},
        {"codec": 256},
        {"quality": -1},
        {"quality": 65536},
        {"width": 0},
        {"height": 65536},
        {"layers": []},
        {"layers": [Layer(1, b""), Layer(1, b"")]},
        {"layers": [Layer(256, b"")]},
    ],
    ids=str,
)
def test_pack_refuses_what_unpack_would(change: dict) -> None:
    with pytest.raises(ValueError, match="outside its range"):
        pack(replace(FRAME, **change))
