"""Sequences as bytes: what is written is read, and nothing else is."""

import random

import pytest

from common.codec import _kernel
from common.errors import BitstreamError
from common.video import chunks
from common.video.chunks import Enhancement, Frame, Header, Limits, Type

HEADER = Header(640, 480, 2, 40, chunks.NO_FUSION)


def frame(number, key=None, enhanced=True):
    enhancement = Enhancement(number % 2 == 0 if key is None else key, number == 3, 7, b"video%d" % number)
    return Frame(number, b"base%d" % number, enhancement if enhanced else None)


def sequence(frames, header=HEADER):
    return b"".join(chunks.written(header, frames))


FRAMES = [frame(0), frame(1), frame(2, enhanced=False), frame(3, enhanced=False), frame(4), frame(5)]


def test_what_is_written_is_read():
    assert chunks.read(sequence(FRAMES)) == (HEADER, FRAMES)


def test_the_bytes_are_those_of_the_document():
    head = bytes.fromhex("02 00000000 00000005")
    checksum = _kernel.crc32c(head + b"base0").to_bytes(4, "big")
    assert chunks.packed(frame(0, enhanced=False)) == head + checksum + b"base0"
    payload = b"MsV1" + bytes.fromhex("0280 01e0 0002 28 000000000000")
    assert chunks.opening(HEADER)[13:] == payload


def test_base_layers_alone_are_a_sequence():
    header, frames = chunks.read(chunks.base_alone(sequence(FRAMES)))
    assert header == HEADER
    assert frames == [f._replace(enhancement=None) for f in FRAMES]


def test_every_cut_is_noticed():
    whole = sequence(FRAMES)
    for end in range(len(whole)):
        with pytest.raises(BitstreamError):
            chunks.read(whole[:end])


def test_every_flipped_bit_is_noticed():
    whole, rng = sequence(FRAMES), random.Random(3)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        with pytest.raises(BitstreamError):
            chunks.read(bytes(damaged))


@pytest.mark.parametrize(
    "frames, message",
    [
        ([frame(1)], "base layer 0"),
        ([frame(0), frame(0)], "base layer 1"),
        ([frame(0), frame(2)], "base layer 1"),
        ([frame(0, key=False)], "key frame"),
        ([frame(0), frame(1, key=True)], "key frame"),
        ([frame(0, enhanced=False), frame(1)], "the one before it"),
    ],
)
def test_frames_out_of_order_are_refused(frames, message):
    with pytest.raises(BitstreamError, match=message):
        chunks.read(sequence(frames))


def test_chunks_out_of_place_are_refused():
    opening, closing, first = chunks.opening(HEADER), chunks.closing(1), chunks.packed(frame(0))
    base, enhancement = chunks.packed(frame(0, enhanced=False)), first[len(chunks.packed(frame(0, enhanced=False))) :]
    assert chunks.read(opening + base + enhancement + closing)
    wrong = [
        b"",
        first + closing,
        opening + first,
        opening + opening + first + closing,
        opening + enhancement + base + closing,
        opening + first + enhancement + closing,
        opening + first + closing + closing,
        opening + first + chunks.closing(2),
        opening + first + chunks.pack(Type.END, 1, b"\0\0\0\2"),
        opening + base + chunks.pack(Type.ENHANCEMENT, 0, b"\1\0\0\0\0") + closing,
        opening + base + chunks.pack(Type.ENHANCEMENT, 0, b"\5\0\0\0\0data") + closing,
        chunks.pack(Type.SEQUENCE, 1, opening[13:]) + first + closing,
        chunks.pack(Type.SEQUENCE, 0, b"MsV2" + opening[17:]) + first + closing,
    ]
    for data in wrong:
        with pytest.raises(BitstreamError):
            chunks.read(data)


def test_what_a_sequence_asks_for_is_bounded():
    whole = sequence(FRAMES)
    for limits, field in (
        (Limits(max_chunk=5), "chunk length"),
        (Limits(max_frames=5), "frames"),
        (Limits(max_pixels=640 * 480 - 1), "size"),
    ):
        with pytest.raises(BitstreamError, match=field):
            chunks.read(whole, limits)
    huge = bytes([Type.SEQUENCE]) + bytes(4) + b"\xff\xff\xff\xff" + bytes(4)
    with pytest.raises(BitstreamError, match="chunk length"):
        chunks.read(huge)


@pytest.mark.parametrize("field, value", [("width", 0), ("height", 1 << 16), ("period", 0), ("quantiser", 64)])
def test_a_header_that_does_not_fit_is_not_written(field, value):
    with pytest.raises(ValueError, match=field):
        chunks.opening(HEADER._replace(**{field: value}))
