"""A sheet to look at: the noisy picture, the clean layer, a cascade in as many bytes, the noisy layer, the original."""

from collections.abc import Sequence
from pathlib import Path

from bench.denoise.joint import Joint
from bench.denoise.report import titled
from bench.denoise.rows import Pair
from bench.noise import Noise
from bench.pictures import Picture
from bench.rd.metrics import psnr
from bench.rd.sheet import Tile, pasted
from bench.rivals import Rival

PICTURES = 3
"""Rows of the sheet."""


def draw(pairs: Sequence[Pair], noise: Noise, joint: Joint, cascade: tuple[str, Rival], path: Path) -> None:
    """Write the sheet of these pictures, one a row."""
    pasted([tiles(pair, noise, joint, cascade) for pair in pairs]).save(path)


def tiles(pair: Pair, noise: Noise, joint: Joint, cascade: tuple[str, Rival]) -> list[Tile]:
    """A picture's row."""
    both = joint.both(pair.noisy, joint.default)
    name, codec = cascade
    quality, size, found = equal(codec, pair.noisy, both.clean_bytes)
    return [
        Tile(pair.noisy, f"noisy, {noise.title}", f"{psnr(pair.clean, pair.noisy):.1f} dB"),
        tile("clean layer", pair.clean, both.clean, both.clean_bytes),
        tile(f"{titled(name)}, {quality}", pair.clean, found, size),
        tile("noisy layer, to the noisy", pair.noisy, both.noisy, both.bytes),
        Tile(pair.clean, "original", ""),
    ]


def tile(name: str, original: Picture, decoded: Picture, size: int) -> Tile:
    """A decoded picture with its figures."""
    bpp = 8 * size / (original.shape[0] * original.shape[1])
    return Tile(decoded, name, f"{size:,} B, {bpp:.2f} bpp, {psnr(original, decoded):.1f} dB")


def equal(codec: Rival, picture: Picture, most: int) -> tuple[int, int, Picture]:
    """Quality, bytes and picture at the finest quality that takes no more bytes, or at the coarsest of all."""
    coarse, fine = codec.ladder[0], codec.ladder[-1]
    steps = range(coarse, fine + 1) if coarse < fine else range(coarse, fine - 1, -1)
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if codec.counted(codec.encode(picture, steps[middle])) <= most:
            low = middle
        else:
            high = middle - 1
    data = codec.encode(picture, steps[low])
    height, width = picture.shape[:2]
    return steps[low], codec.counted(data), codec.decode(data)[:height, :width]
