"""Measuring: one codec at one quality on pictures with one noise, its bytes and its errors to the clean pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from bench.noise import Noise
from bench.pictures import Picture
from bench.rd.metrics import LEAST_SIDE, MsSsim, psnr
from bench.rd.rows import LOSSLESS
from bench.rivals import Rival
from common.errors import MidstreamError


class Pair(NamedTuple):
    """A picture and the same with noise."""

    clean: Picture
    noisy: Picture


@dataclass(frozen=True)
class Measured:
    """What was found of some pictures with a noise."""

    pictures: str
    """The folder they are from."""
    sigma: float
    gain: float
    """Of the noise."""

    @property
    def where(self) -> tuple[str, Noise]:
        """What it was measured on."""
        return self.pictures, Noise(self.sigma, self.gain)

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Back again. Raises KeyError if a field is missing."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Row(Measured):
    """One codec at one quality; means over pictures of each picture's own."""

    codec: str
    quality: int
    bpp: float
    """Bits of all that counts, per pixel."""
    psnr: float
    """dB, of what was decoded to the clean picture."""
    ms_ssim: float | None
    """The same; None where the pictures are too small for it."""


@dataclass(frozen=True)
class Alone(Measured):
    """What a denoiser makes of the pictures before anything is coded; `none` is the noisy pictures themselves."""

    denoiser: str
    psnr: float
    ms_ssim: float | None


class Errors(NamedTuple):
    """Of one picture."""

    psnr: float
    ms_ssim: float | None


Scores = Callable[[Picture], Errors]


def against(original: Picture) -> Scores:
    """What measures pictures against this one."""
    similar = MsSsim(original) if min(original.shape[:2]) >= LEAST_SIDE else None
    return lambda found: Errors(min(psnr(original, found), LOSSLESS), similar.to(found) if similar else None)


def measure(
    pictures: str, noise: Noise, pairs: Iterable[Pair], codecs: Mapping[str, Rival], tick: Callable[[], None]
) -> list[Row]:
    """The rows of these codecs, each at every quality of its ladder. Picture by picture; `tick` after each."""
    found: dict[tuple[str, int], list[tuple[float, Errors]]] = defaultdict(list)
    for pair in pairs:
        scores = against(pair.clean)
        for name, codec in codecs.items():
            for quality in codec.ladder:
                found[name, quality].append(coded(pair, scores, name, codec, quality))
        tick()
    return [
        Row(pictures, *noise, name, quality, float(np.mean([bpp for bpp, _ in all_])), *mean([e for _, e in all_]))
        for (name, quality), all_ in found.items()
    ]


def coded(pair: Pair, scores: Scores, name: str, codec: Rival, quality: int) -> tuple[float, Errors]:
    """Bits a pixel, and the errors to the clean picture, of one picture through a codec and back."""
    height, width = pair.noisy.shape[:2]
    data = codec.encode(pair.noisy, quality)
    decoded = codec.decode(data)[:height, :width]  # codecs that want even sizes give a row or column more
    if decoded.shape != pair.noisy.shape:
        raise MidstreamError(f"{name} at {quality}: {width}x{height} pixels came back as {decoded.shape}")
    return 8 * codec.counted(data) / (height * width), scores(decoded)


def alone(
    pictures: str,
    noise: Noise,
    pairs: Iterable[Pair],
    denoisers: Mapping[str, Callable[[Picture], Picture]],
    tick: Callable[[], None],
) -> list[Alone]:
    """What each denoiser makes of them, and how far they were before. Picture by picture; `tick` after each."""
    every = {"none": lambda picture: picture, **denoisers}
    found: dict[str, list[Errors]] = defaultdict(list)
    for pair in pairs:
        scores = against(pair.clean)
        for name, denoise in every.items():
            found[name].append(scores(denoise(pair.noisy)))
        tick()
    return [Alone(pictures, *noise, name, *mean(errors)) for name, errors in found.items()]


def mean(errors: Sequence[Errors]) -> Errors:
    """Over pictures; MS-SSIM over those that are large enough for it."""
    similar = [e.ms_ssim for e in errors if e.ms_ssim is not None]
    return Errors(float(np.mean([e.psnr for e in errors])), float(np.mean(similar)) if similar else None)
