"""The codecs in one form: a way takes a clip and a quality to bytes and the features the cloud gets of each frame."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from bench.accuracy.scene import Scene
from bench.rivals import RIVALS, frames, ordinary_priority, slices
from bench.settings import hush_encoders
from common import feature_codec
from common.bundle import Bundle
from common.codec import Container, Features, State, TemporalCodec, pack, unpack
from common.errors import MidstreamError

Picture = np.ndarray

PERIOD = 100
"""Every so many frames one is coded alone, by all that code frames after others."""
LAGS = (1, 2, 4)
"""Frames between a frame and what it is coded after: on a live link, what was acked when it was coded."""
QUALITIES = (32, 64, 96, 128, 160, 192, 224, 256, 304, 352)


class Coded(NamedTuple):
    """One frame through a codec. `picture` is what came back at the network's size, of a codec of pictures."""

    bytes: int
    features: list[Features]
    picture: Picture | None = None


@dataclass(frozen=True)
class Way:
    """A codec and its qualities, coarse to fine."""

    name: str
    ladder: tuple[int, ...]
    code: Callable[[Scene, int], list[Coded]]


def ways(bundle: Bundle) -> list[Way]:
    """Ours first. Raises MidstreamError if the bundle's codec cannot code a frame after another."""
    codec = feature_codec.of(bundle)
    if not isinstance(codec, TemporalCodec):
        raise MidstreamError(f"the codec {codec.name!r} of {bundle!r} codes every frame alone: name another bundle")
    ladder = tuple(quality for quality in QUALITIES if quality in codec.qualities)
    own = [Way(codec.name, ladder, lambda scene, quality: features(codec, scene, quality, None))]
    for lag in LAGS:
        name = f"{codec.name} after {lag}"
        own.append(Way(name, ladder, lambda scene, quality, lag=lag: features(codec, scene, quality, lag)))
    jpeg = Way("jpeg", RIVALS["jpeg"].ladder, stills)
    return [*own, jpeg, *(low_delay(rival) for rival in ENCODERS)]


def low_delay(rival: str) -> Way:
    """A rival as a video."""
    how = ENCODERS[rival]
    return Way(f"{rival} low delay", RIVALS[rival].ladder, lambda scene, crf: video(how(crf), scene))


def features(codec: TemporalCodec, scene: Scene, quality: int, lag: int | None) -> list[Coded]:
    """Each frame after that `lag` frames before it, by encoder and decoder as they run; None: all alone."""
    found: list[Coded] = []
    held: list[State] = []
    for i, tensors in enumerate(scene.features):
        box, window = scene.box(i), scene.window(i)
        before = None if lag is None or i < lag or i % PERIOD == 0 else held[-lag]
        layers, _, alone, _ = codec.encode_after(tensors, quality, window, before, keep=True)
        container = Container(scene.bundle.prefix, codec.id, quality, box.picture_w, box.picture_h, layers, alone)
        data = pack(container)
        names = {state.name: state for state in held}
        decoded, state = codec.decode_after(unpack(data).layers, window, names.get)
        assert state is not None
        held = [*held, state][-max(LAGS) :]
        found.append(Coded(len(data), decoded))
    return found


def stills(scene: Scene, quality: int) -> list[Coded]:
    """JPEG at the network's size."""
    jpeg, found = RIVALS["jpeg"], []
    for i in range(len(scene.shots)):
        data = jpeg.encode(scene.at_network_size(i), quality)
        seen = jpeg.decode(data)
        found.append(Coded(jpeg.counted(data), scene.split.cut(seen), seen))
    return found


@dataclass(frozen=True)
class LowDelay:
    """An encoder that gives each frame's bytes before it is given the next frame."""

    encoder: str
    decoder: str
    options: dict[str, str]
    counted: Callable[[bytes], int]


def hevc(crf: int) -> LowDelay:
    """x265's default effort, for squared error; every frame after the one before it."""
    params = f"bframes=0:rc-lookahead=0:keyint={PERIOD}:min-keyint={PERIOD}:scenecut=0"
    params += ":info=0:pools=none:frame-threads=1:log-level=none"
    options = {"preset": "medium", "tune": "psnr", "crf": str(crf), "x265-params": params}
    return LowDelay("libx265", "hevc", options, slices)


def svt_av1(crf: int) -> LowDelay:
    """SVT-AV1, likewise."""
    options = {"preset": "6", "crf": str(crf), "svtav1-params": f"pred-struct=1:lp=1:keyint={PERIOD}"}
    return LowDelay("libsvtav1", "libdav1d", options, frames)


ENCODERS: dict[str, Callable[[int], LowDelay]] = {"x265": hevc, "av1": svt_av1}
"""By the names of RIVALS."""


def video(how: LowDelay, scene: Scene) -> list[Coded]:
    """The clip as a video at the network's size: 4:2:0, without containers and parameter sets."""
    shown = [scene.at_network_size(i) for i in range(len(scene.shots))]
    packets = encoded(how, shown)
    height, width = shown[0].shape[:2]
    seen = [np.ascontiguousarray(picture[:height, :width]) for picture in played(how, packets)]
    sizes = [how.counted(data) for data in packets]
    return [Coded(size, scene.split.cut(picture), picture) for size, picture in zip(sizes, seen, strict=True)]


def encoded(how: LowDelay, pictures: list[Picture]) -> list[bytes]:
    """The packet of each picture. The last row and column are doubled where sides are odd."""
    hush_encoders()
    height, width = pictures[0].shape[:2]
    context = av.CodecContext.create(how.encoder, "w")
    context.height, context.width = height + height % 2, width + width % 2
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    context.thread_count, context.options = 1, how.options
    packets: list[bytes] = []
    with ordinary_priority():
        for i, picture in enumerate(pictures):
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p")
            frame.pts = i
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
    return packets


def played(how: LowDelay, packets: list[bytes]) -> list[Picture]:
    """The pictures of the packets."""
    context = av.CodecContext.create(how.decoder, "r")
    context.thread_count = 1
    came = [frame for data in packets for frame in context.decode(av.Packet(data))]
    return [frame.to_ndarray(format="rgb24") for frame in (*came, *context.decode(None))]
