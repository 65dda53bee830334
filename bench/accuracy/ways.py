"""The codecs in one form: a way takes a photo of a scene and a quality to bytes and the features the cloud gets."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.accuracy.scene import Scene, console
from bench.clips import clips
from bench.mosaic import mosaic
from bench.pictures import thinned
from bench.rivals import RIVALS, Rival
from common import feature_codec
from common.bundle import Bundle
from common.codec import Codec, Container, Features, Lightweight, pack, unpack
from common.codec.clip import fit, optimal_clip
from common.errors import MidstreamError

PAPERS, MOSAIC = "lightweight", "mosaic"
SIZES = ("network", "original")
"""At which pictures are coded."""
LEVELS = range(2, 17)
QPS = (47, 42, 37, 32, 27, 22, 17, 12)
RUNGS = 24
"""Of the ladder of a codec with more qualities than anybody would measure."""


class Coded(NamedTuple):
    """One photo through a codec. Times are seconds; `decode_s` is 0 where only the sum is known."""

    bytes: int
    features: Sequence[Features]
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class Way:
    """One codec with its ladder of qualities, coarse to fine."""

    name: str
    ladder: tuple[int, ...]
    code: Callable[[int, int], Coded]
    """Number of the photo and quality."""
    features: bool
    """Whether it codes the features and not the picture."""


def names(bundle: Bundle, wanted: Sequence[str] | None = None) -> list[str]:
    """Ours first, then its rivals; of these only those wanted, by name or by what comes before the slash.

    Raises MidstreamError if nothing has a wanted name.
    """
    pictures = [f"{rival}/{size}" for size in SIZES for rival in RIVALS]
    every = list(dict.fromkeys([str(bundle.manifest.codec.get("name")), PAPERS, MOSAIC, *pictures]))
    if wanted is None:
        return every
    if unknown := [name for name in wanted if not any(name in known(other) for other in every)]:
        raise MidstreamError(f"no codec is called {', '.join(unknown)}; there are {', '.join(every)}")
    return [name for name in every if name == every[0] or any(other in known(name) for other in wanted)]


def known(name: str) -> tuple[str, str]:
    """What a codec may be asked for by."""
    return name, name.partition("/")[0]


def way(name: str, scene: Scene) -> Way:
    """The codec of this name, one of `names`."""
    rival, _, size = name.partition("/")
    if size:
        return picture_way(name, RIVALS[rival], scene, small=size == SIZES[0])
    if name == scene.bundle.manifest.codec.get("name"):
        return own_codec(scene)
    return mosaic_way(scene) if name == MOSAIC else feature_way(PAPERS, papers(scene), scene, tuple(LEVELS))


def own_codec(scene: Scene) -> Way:
    """The bundle's codec, at the qualities its builder measured or else at some of all."""
    codec = feature_codec.of(scene.bundle)
    measured = tuple(sorted(point.quality for point in scene.bundle.manifest.operating_points))
    return feature_way(codec.name, codec, scene, measured or ladder(codec))


def ladder(codec: Codec) -> tuple[int, ...]:
    """All qualities of a codec, or some two dozen evenly spread."""
    return tuple(thinned(codec.qualities, RUNGS))


def feature_way(name: str, codec: Codec, scene: Scene, qualities: tuple[int, ...]) -> Way:
    """Features through a codec and its container: all that is sent is counted, and checked on the way back."""

    def code(i: int, quality: int) -> Coded:
        box, window = scene.box(i), scene.window(i)
        begin = time.perf_counter()
        layers = codec.encode(scene.features[i], quality, window)
        data = pack(Container(scene.bundle.prefix, codec.id, quality, box.picture_w, box.picture_h, layers))
        middle = time.perf_counter()
        features = codec.decode(unpack(data).layers, window)
        return Coded(len(data), features, middle - begin, time.perf_counter() - middle)

    return Way(name, qualities, code, features=True)


def mosaic_way(scene: Scene) -> Way:
    """Features as a picture through HEVC."""

    def code(i: int, qp: int) -> Coded:
        begin = time.perf_counter()
        size, features = mosaic([as_planes(tensor) for tensor in scene.features[i]], qp)
        shaped = [back.reshape(tensor.shape) for back, tensor in zip(features, scene.features[i], strict=True)]
        return Coded(size, shaped, time.perf_counter() - begin, 0.0)

    return Way(MOSAIC, QPS, code, features=True)


def as_planes(tensor: Features) -> Features:
    """[..., H, W] as [C, H, W]; what has less than two sides has one row."""
    shape = (1, 1, *tensor.shape)[-max(3, tensor.ndim) :]
    return tensor.reshape(-1, *shape[-2:])


def picture_way(name: str, rival: Rival, scene: Scene, small: bool) -> Way:
    """The picture through a rival, as it is or at the network's size; then the network's front half."""

    def code(i: int, quality: int) -> Coded:
        picture = scene.at_network_size(i) if small else scene.shots[i].picture
        begin = time.perf_counter()
        data = rival.encode(picture, quality)
        middle = time.perf_counter()
        seen = rival.decode(data)
        end = time.perf_counter()
        seen = np.ascontiguousarray(seen[: picture.shape[0], : picture.shape[1]])
        return Coded(rival.counted(data), scene.split.cut(seen), middle - begin, end - middle)

    return Way(name, rival.ladder, code, features=False)


def papers(scene: Scene) -> Lightweight:
    """The papers' codec at this cut: N from 2 to 16, clips as a bundle of that codec would have them (`bench.clips`).

    What training measured for the clips stands in the manifest of a bundle that it exported. Otherwise they come from
    the uncoded features of the photos at hand, which flatters the papers' codec, if anything.
    """
    params: dict[str, Any] = scene.bundle.manifest.codec
    if {"mean", "variance", "slope"} <= params.keys():
        model = fit(*(float(params[name]) for name in ("mean", "variance", "slope")))
        found, source = {levels: optimal_clip(model, levels) for levels in LEVELS}, "what training measured"
    else:
        sample = np.concatenate([tensor.ravel()[::7] for shot in scene.features[:32] for tensor in shot])
        found, source = clips(scene.bundle, sample, LEVELS)
    console.print(f"the papers' codec is clipped by {source}")
    return Lightweight(scene.bundle.manifest.cut.shapes, found)
