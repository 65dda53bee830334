"""One after the other: a denoiser before a picture codec, or behind it. Each pair is a codec like any other.

The denoiser is told how strong the noise was, which the joint codec is not. Behind a codec, which takes noise away
too, it is told what the decoded picture still shows, at most what there was.
"""

from collections.abc import Callable, Mapping

from bench.pictures import Picture
from bench.rivals import Rival

BEFORE, BEHIND = "dncnn>", ">dncnn"
"""What a cascade is called: `dncnn>jpeg`, `jpeg>dncnn`."""
FINEST = 9
"""Rungs of a codec's ladder that are of use: beyond, what is coded is what the denoiser left."""
COARSEST, EVERY = 2, 2
"""Fewer rungs for a denoiser behind, which has to run for each; where coding leaves no noise, it has nothing to do."""

Cleaning = Callable[[Picture], Picture]


def cascades(clean: Cleaning, left: Cleaning, codecs: Mapping[str, Rival]) -> dict[str, Rival]:
    """Both orders for each codec, as codecs of noisy pictures, with a denoiser for before and one for behind."""
    found = {f"{BEFORE}{name}": before(clean, codec) for name, codec in codecs.items()}
    return found | {f"{name}{BEHIND}": behind(left, codec) for name, codec in codecs.items()}


def before(clean: Cleaning, codec: Rival) -> Rival:
    """Denoise, then code."""
    ladder = codec.ladder[:FINEST]
    return codec._replace(encode=lambda picture, quality: codec.encode(clean(picture), quality), ladder=ladder)


def behind(left: Cleaning, codec: Rival) -> Rival:
    """Code, then denoise what was decoded."""
    ladder = codec.ladder[COARSEST:FINEST:EVERY]
    return codec._replace(decode=lambda data: left(codec.decode(data)), ladder=ladder)


def remembered(work: Cleaning) -> Cleaning:
    """The same, done once for each array; all of them stay in memory as long as it does."""
    known: dict[int, tuple[Picture, Picture]] = {}

    def run(picture: Picture) -> Picture:
        if id(picture) not in known:
            known[id(picture)] = picture, work(picture)
        return known[id(picture)][1]

    return run
