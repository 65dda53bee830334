"""The picture codecs by name: what others use. All code one picture by itself; ours are in `layered`."""

from collections.abc import Mapping, Sequence

from bench.pictures import Picture
from bench.rivals import RIVALS, Rival, played, slices, video
from common.errors import MidstreamError


def x265_444(picture: Picture, crf: int) -> bytes:
    """HEVC intra as `bench.rivals.x265`, with colour as fine as light: better above some 35 dB, worse below."""
    params = "keyint=1:info=0:pools=none:frame-threads=1:log-level=none"
    options = {"preset": "medium", "tune": "psnr", "crf": str(crf), "x265-params": params}
    return video("libx265", options, picture, "yuv444p")


OTHERS: dict[str, Rival] = {
    **RIVALS,
    "x265-444": Rival(x265_444, lambda data: played("hevc", data), slices, RIVALS["x265"].ladder),
}
"""Name -> how to encode, decode and count. A codec is a row; where it comes from does not matter."""


def chosen(every: Mapping[str, Rival], wanted: Sequence[str] | None) -> dict[str, Rival]:
    """Those of these names, in the registry's order; all for None. Raises MidstreamError for a name it lacks."""
    if wanted is None:
        return dict(every)
    if unknown := [name for name in wanted if name not in every]:
        raise MidstreamError(f"no codec is called {', '.join(unknown)}; there are {', '.join(every)}")
    return {name: codec for name, codec in every.items() if name in wanted}
