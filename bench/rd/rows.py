"""Measuring: one codec at one quality, its bytes and its errors, means over the pictures."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.pictures import Picture
from bench.rd.metrics import LEAST_SIDE, MsSsim, psnr
from bench.rivals import Rival
from common.errors import MidstreamError

Ladders = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Row:
    """One codec at one quality. Rate and errors are means over pictures of each picture's own; times are medians."""

    codec: str
    quality: int
    bpp: float
    """Bits of all that counts, per pixel of the picture."""
    psnr: float
    """dB, 8-bit RGB; equal pictures count as `LOSSLESS`."""
    ms_ssim: float | None
    """Of the pictures large enough for it; None if there is none."""
    encode_ms: float
    decode_ms: float

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


LOSSLESS = 99.0
"""What stands for an infinite PSNR, which has no mean."""


class Coded(NamedTuple):
    """One picture at one quality. Times are seconds."""

    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float


def ladders(codecs: Mapping[str, Rival], qualities: Sequence[int] | None) -> dict[str, tuple[int, ...]]:
    """The qualities at which each codec is measured: those asked for, else its own ladder."""
    return {name: tuple(qualities) if qualities else codec.ladder for name, codec in codecs.items()}


def measure(
    pictures: Iterable[Picture],
    codecs: Mapping[str, Rival],
    wanted: Ladders,
    tick: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """The rows of every codec. Picture by picture, so that only one is in memory; `tick` gets each codec's name."""
    found: dict[tuple[str, int], list[Coded]] = defaultdict(list)
    for picture in pictures:
        similarity = MsSsim(picture) if min(picture.shape[:2]) >= LEAST_SIDE else None
        for name, codec in codecs.items():
            for quality in wanted[name]:
                found[name, quality].append(code(picture, similarity, name, codec, quality))
            tick(name)
    return [row(*key, coded) for key, coded in found.items()]


def code(picture: Picture, similarity: MsSsim | None, name: str, codec: Rival, quality: int) -> Coded:
    """One picture through a codec and back. Raises MidstreamError if what comes back is too small."""
    height, width = picture.shape[:2]
    begin = time.perf_counter()
    data = codec.encode(picture, quality)
    middle = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    decoded = decoded[:height, :width]  # codecs that want even sizes give a row or column more
    if decoded.shape != picture.shape:
        raise MidstreamError(f"{name} at {quality}: {width}x{height} pixels came back as {decoded.shape}")
    structure = similarity.to(decoded) if similarity else None
    bpp = 8 * codec.counted(data) / (height * width)
    return Coded(bpp, min(psnr(picture, decoded), LOSSLESS), structure, middle - begin, end - middle)


def row(codec: str, quality: int, coded: Sequence[Coded]) -> Row:
    """The means."""
    similar = [c.ms_ssim for c in coded if c.ms_ssim is not None]
    return Row(
        codec,
        quality,
        bpp=float(np.mean([c.bpp for c in coded])),
        psnr=float(np.mean([c.psnr for c in coded])),
        ms_ssim=float(np.mean(similar)) if similar else None,
        encode_ms=1e3 * float(np.median([c.encode_s for c in coded])),
        decode_ms=1e3 * float(np.median([c.decode_s for c in coded])),
    )
