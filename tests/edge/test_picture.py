"""Every picture becomes the network's input, or a sentence saying why not; bombs are never opened."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from common.errors import FrameError
from common.geometry import letterbox_geometry
from edge import picture
from tests.edge.pictures import jpeg, png_bomb, save, scene

LIMIT = 50_000_000


def decode(data: bytes, size: int = 320) -> np.ndarray:
    return picture.decode(data, picture.read_header(data, LIMIT), size, 114)


def reference(image: Image.Image, size: int = 320) -> np.ndarray:
    """Whole, upright, RGB, resized by Pillow with its antialiasing filter, on grey."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    box = letterbox_geometry(*image.size, size)
    out = Image.new("RGB", (size, size), (114, 114, 114))
    out.paste(image.resize((box.width, box.height), Image.Resampling.BILINEAR), (box.left, box.top))
    return np.asarray(out)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


@pytest.mark.parametrize(
    "size", [(320, 320), (640, 480), (480, 640), (160, 120), (1000, 333), (321, 319), (1, 1), (3, 700)]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_letterboxed_like_in_training(kind: str, size: tuple[int, int]) -> None:
    image = scene(*size)
    data = save(image, kind, **({"quality": 95} if kind != "PNG" else {}))
    header = picture.read_header(data, LIMIT)
    assert (header.width, header.height) == header.seen == size
    assert header.content_type == f"image/{kind.lower()}"
    assert distance(decode(data), reference(Image.open(io.BytesIO(data)))) < 1.5


@pytest.mark.parametrize("scale", [2, 3, 4, 7])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(scale: int) -> None:
    data = jpeg(320 * scale, 240 * scale, quality=95)
    assert distance(decode(data), reference(Image.open(io.BytesIO(data)))) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(640, 480), (200, 90)])
def test_orientation_is_applied(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(*size, exif=exif, quality=95)
    header = picture.read_header(data, LIMIT)
    assert header.orientation == orientation
    assert header.seen == ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
    assert distance(decode(data), reference(Image.open(io.BytesIO(data)))) < 1.5


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_either_byte_order(order: str) -> None:
    def exif(orientation: int) -> bytes:
        tags = struct.pack(f"{order}HHHII", 2, 0x010E, 2, 1, 0) + struct.pack(
            f"{order}HHIHH", 0x0112, 3, 1, orientation, 0
        )
        mark = b"II*\0" if order == "<" else b"MM\0*"
        return segment(0xE1, b"Exif\0\0" + mark + struct.pack(f"{order}I", 8) + tags)

    data = jpeg()
    assert picture.read_header(data[:2] + exif(6) + exif(3) + data[2:], LIMIT).orientation == 6
    assert picture.read_header(data[:2] + exif(9) + data[2:], LIMIT).orientation == 1


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_whole_is_every_pixel(kind: str, mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (250, 700, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    options = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}[kind]
    data = save(image, kind, **options, **({"exif": exif} if kind == "JPEG" else {}))
    whole = picture.decode_whole(data, picture.read_header(data, LIMIT))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert whole.shape == expected.shape and whole.dtype == np.uint8 and whole.flags.c_contiguous
    assert distance(whole, expected) < 1


def test_a_damaged_exif_does_not_spoil_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(jpeg(exif=exif))
    at = data.index(b"Exif\0\0") + 6
    data[at : at + 8] = b"\xff" * 8
    assert picture.read_header(bytes(data), LIMIT).orientation == 1
    decode(bytes(data))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = scene(320, 320)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    data = save(image, "JPEG" if mode == "CMYK" else "PNG")
    expected = scene(320, 320).convert("L").convert("RGB") if mode == "I;16" else image.convert("RGB")
    assert distance(decode(data), np.asarray(expected)) < 3


def test_the_first_frame_of_an_animation() -> None:
    data = save(scene(seed=1), "WEBP", save_all=True, append_images=[scene(seed=2)], lossless=True)
    assert distance(decode(data), reference(scene(seed=1))) < 1.5


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), b"%PDF-1.7", bytes(100), b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(FrameError, match="JPEG, PNG or WebP") as refusal:
        picture.read_header(data, LIMIT)
    assert refusal.value.status == 415


def webp_bomb() -> bytes:
    body = struct.pack("<BI", 0x2F, (16383 | 16383 << 14))
    return b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body + bytes(20)


def jpeg_bomb() -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


@pytest.mark.parametrize("data", [png_bomb(), png_bomb(100_000, 10), webp_bomb(), jpeg_bomb()])
def test_bombs_are_refused_by_their_header(data: bytes) -> None:
    assert len(data) < 10_000
    with pytest.raises(FrameError, match="decompression bomb") as refusal:
        picture.read_header(data, LIMIT)
    assert refusal.value.status == 422


@pytest.mark.parametrize("marker", [0x00, 0x01, 0x02, 0xC8, *range(0xD0, 0xDA), 0xDE, 0xDF, 0xF0, 0xFF])
def test_a_jpeg_cannot_hide_its_size(marker: int) -> None:
    """Who gives these markers a length takes FF E1 for it, and finds 64x64 pixels inside the segment."""
    hidden = bytearray(65533)
    hidden[-32:-13] = segment(0xC0, struct.pack(">BHHB", 8, 64, 64, 3) + b"\1\x22\0\2\x11\1\3\x11\1")
    data = b"\xff\xd8" + bytes([0xFF, marker]) + segment(0xE1, bytes(hidden)) + jpeg(200, 104)[2:]
    if marker == 0xFF:  # that is no marker
        assert picture.read_header(data, LIMIT).seen == (200, 104)
        return
    with pytest.raises(FrameError, match="damaged") as refusal:
        picture.read_header(data, LIMIT)
    assert refusal.value.status == 422


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_size_other_than_the_decoders_is_refused_undecoded(mode: str) -> None:
    data = save(scene(200, 104).convert(mode), "JPEG")
    header = replace(picture.read_header(data, LIMIT), width=64, height=64)
    with pytest.raises(FrameError, match="disagree about its size"):
        picture.decode(data, header, 64, 114)


@pytest.mark.parametrize("part", [b"\xff", segment(0xFE, b"")])
def test_what_may_stand_before_the_picture_is_bounded(part: bytes) -> None:
    data = jpeg()
    assert picture.read_header(data[:2] + part * 100 + data[2:], LIMIT) == picture.read_header(data, LIMIT)
    with pytest.raises(FrameError, match="damaged"):
        picture.read_header(data[:2] + part * 1001 + data[2:], LIMIT)


def test_a_jpeg_of_several_scans_is_whole_in_memory_and_may_not_have_hundreds() -> None:
    data = jpeg(subsampling=0)
    assert picture.read_header(data, LIMIT).rows
    tables = data[: data.index(b"\xff\xda")]
    scan = segment(0xDA, b"\1\1\0\0\x3f\0")  # of the first component alone
    assert not picture.read_header(tables + scan, LIMIT).rows
    with pytest.raises(FrameError, match="scans"):
        picture.read_header(tables + scan * 200, LIMIT)


def test_a_header_of_no_size() -> None:
    with pytest.raises(FrameError, match="0x7"):
        picture.read_header(png_bomb(0, 7), LIMIT)


def test_a_progressive_jpeg_may_have_scans_but_not_hundreds() -> None:
    data = jpeg(progressive=True)
    decode(data)
    scan = data.index(b"\xff\xda")
    with pytest.raises(FrameError, match="scans"):
        picture.read_header(data[:scan] + data[scan : scan + 40] * 200 + data[scan:], LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_cut_short_is_422(kind: str, part: float) -> None:
    data = save(scene(), kind)
    with pytest.raises(FrameError, match="cut short or damaged") as refusal:
        decode(data[: int(len(data) * part)])
    assert refusal.value.status == 422


_WHOLE = [jpeg(64, 48), jpeg(64, 48, progressive=True), save(scene(64, 48), "PNG"), save(scene(64, 48), "WEBP")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_WHOLE), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8), st.data())
def test_damage_is_an_error_of_ours_or_a_picture(
    data: bytes, changes: list[tuple[int, int]], draw: st.DataObject
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    cut = draw.draw(st.integers(0, len(damaged)))
    try:
        pixels = picture.decode(bytes(damaged[:cut]), picture.read_header(bytes(damaged[:cut]), 1_000_000), 64, 114)
    except FrameError as refusal:
        assert refusal.status in (415, 422)
    else:
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
