"""Real compressed pictures."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def scene(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    """Smooth in the large, with an edge, and different for every seed."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [127 + 120 * np.sin((x * a + y * b) / 25 + seed) for a, b in ((1, 0.3), (0.2, 1), (0.7, -0.6))]
    pixels = np.stack(planes, -1).astype(np.uint8)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 20 + seed % 200)
    return Image.fromarray(pixels)


def jpeg(width: int = 160, height: int = 120, seed: int = 0, **options: Any) -> bytes:
    return save(scene(width, height, seed), "JPEG", **{"quality": 90, **options})


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A few hundred bytes that claim to be gigabytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
