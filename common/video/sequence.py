"""Frames and their base layers to a sequence and back: base layers for the detector, a video above them to look at.

The video is AV1 without delay. Each of its frames may be *fused*: `fusion` adds to it what it makes of the frame, the
one decoded before and the base layer's features. Fused frames are what is shown and never what later ones are coded
after, so whether one is fused is the encoder's choice, frame by frame: it fuses where that is nearer to the picture.

Video, features and network are integers, and every shown frame has a checksum: a decoder shows exactly what the
encoder saw, or raises.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from common.bundle import Bundle
from common.codec import Codec
from common.codec.container import check
from common.video import av1, chunks
from common.video.chunks import Enhancement, Frame, Header
from common.video.features import Bases
from common.video.fusion import FEATURES, Fusion
from common.video.planes import Cells, Picture, Planes, of_picture, to_picture

QUANTISER, PERIOD = 40, 64


class Settings(NamedTuple):
    """How a sequence is encoded."""

    quantiser: int = QUANTISER
    """0 (fine) to 63 (coarse)."""
    period: int = PERIOD
    """One frame in so many is shown without others. It can be looked for, too, if its base layer was coded alone."""


DEFAULT = Settings()


class Shown(NamedTuple):
    """A decoded frame. `picture` is [H, W, 3] RGB; None where only the base layer is there."""

    number: int
    base: bytes
    picture: Picture | None
    fused: bool


class Given(NamedTuple):
    """A frame that is being encoded."""

    number: int
    planes: Planes
    base: bytes
    cells: Cells | None


class Coder:
    """Both directions, with one bundle: its codec reads the base layers; without a fusion no frame is fused."""

    def __init__(self, bundle: Bundle, codec: Codec, fusion: Fusion | None) -> None:
        self.bundle, self.codec, self.fusion = bundle, codec, fusion

    def encode(self, frames: Iterable[tuple[Picture, bytes]], settings: Settings = DEFAULT) -> Iterator[bytes]:
        """Pictures [H, W, 3] of one size with their base layers' containers to the sequence, part by part.

        Raises ValueError if there are none or sizes differ, BitstreamError for a base layer that is damaged.
        """
        given = iter(frames)
        first = next(given, None)
        if first is None:
            raise ValueError("frames: expected one at least")
        height, width = first[0].shape[:2]
        name = self.fusion.name if self.fusion else chunks.NO_FUSION
        header = Header(width, height, settings.period, settings.quantiser, name)
        yield from chunks.written(header, self._encoded(header, first, given))

    def _encoded(
        self, header: Header, first: tuple[Picture, bytes], rest: Iterator[tuple[Picture, bytes]]
    ) -> Iterator[Frame]:
        even = header.width + header.width % 2, header.height + header.height % 2
        encoder = av1.Encoder(*even, header.quantiser, header.period)
        show, waiting = _Show(header, self.fusion, even), list[Given]()
        for given in self._given(header, first, rest):
            waiting.append(given)
            for data in encoder.encode(given.planes):
                yield show.chosen(waiting.pop(0), data)
        for data in encoder.finish():
            yield show.chosen(waiting.pop(0), data)
        assert not waiting

    def _given(
        self, header: Header, first: tuple[Picture, bytes], rest: Iterator[tuple[Picture, bytes]]
    ) -> Iterator[Given]:
        bases = Bases(self.bundle, self.codec)
        for index, (picture, base) in enumerate(_chained(first, rest)):
            if picture.shape != (header.height, header.width, 3):
                raise ValueError(f"frame {index}: expected the first one's size, got {picture.shape}")
            if index % header.period == 0:
                bases = Bases(self.bundle, self.codec)  # a decoder may begin here
            yield Given(index, of_picture(picture), base, self._cells(bases, header, base))

    def decode(self, data: bytes, first: int = 0, limits: chunks.Limits = chunks.LIMITS) -> Iterator[Shown]:
        """The frames of a sequence from `first` on; it begins at the key frame before that.

        Raises BitstreamError: before anything is decoded for what the chunks show, later for a frame that is not what
        the encoder saw.
        """
        header, frames = chunks.read(data, limits)
        known = self.fusion.name if self.fusion else chunks.NO_FUSION
        fits = header.fusion in (known, chunks.NO_FUSION)
        check(fits, "fusion", f"the network {known.hex()}", header.fusion.hex())
        even = header.width + header.width % 2, header.height + header.height % 2
        show = _Show(header, self.fusion if header.fusion != chunks.NO_FUSION else None, even)
        bases = Bases(self.bundle, self.codec)
        for frame in frames[start(frames, header, first) :]:
            if frame.number % header.period == 0:
                bases = Bases(self.bundle, self.codec)
            cells = self._cells(bases, header, frame.base)
            picture = None if frame.enhancement is None else show.shown(frame, frame.enhancement, cells)
            if frame.number >= first:
                fused = frame.enhancement is not None and frame.enhancement.fused
                seen = None if picture is None else to_picture(picture, header.width, header.height)
                yield Shown(frame.number, frame.base, seen, fused)

    def _cells(self, bases: Bases, header: Header, base: bytes) -> Cells | None:
        """What the fusion is told of a base layer; None if it does not know this bundle."""
        cells = bases.cells(base, header.width, header.height)
        knows = self.fusion is not None and self.fusion.bundle == self.bundle.prefix
        return cells if knows and bases.channels == FEATURES else None


class _Show:
    """Decodes the video and fuses its frames, for encoder and decoder alike."""

    def __init__(self, header: Header, fusion: Fusion | None, even: tuple[int, int]) -> None:
        self.header, self.fusion, self.even = header, fusion, even
        self._decoder: av1.Decoder | None = None
        self._before: Planes | None = None

    def chosen(self, given: Given, data: bytes) -> Frame:
        """The chunks of a frame whose video is `data`: as it is, or fused if that is nearer to the picture."""
        key = given.number % self.header.period == 0
        plain, fused = self._both(data, given.cells, key, fuse=self.fusion is not None)
        better = fused is not None and fused.error(given.planes) < plain.error(given.planes)
        shown = fused if better and fused is not None else plain
        return Frame(given.number, given.base, Enhancement(key, better, shown.checksum, data))

    def shown(self, frame: Frame, enhancement: Enhancement, cells: Cells | None) -> Planes:
        """The frame as the encoder saw it. Raises BitstreamError."""
        fuse = enhancement.fused
        check(not fuse or self.fusion is not None, "enhancement", "none that is fused without a network", "one")
        plain, fused = self._both(enhancement.data, cells, enhancement.key, fuse=fuse)
        shown = plain if fused is None else fused
        said, found = enhancement.checksum, shown.checksum
        check(found == said, f"checksum of frame {frame.number}", f"{said:08x}", f"{found:08x}")
        return shown

    def _both(self, data: bytes, cells: Cells | None, key: bool, *, fuse: bool) -> tuple[Planes, Planes | None]:
        """The video's frame, and the same fused if asked for."""
        if key:
            self._decoder, self._before = av1.Decoder(*self.even), None
        check(self._decoder is not None, "enhancement", "a key frame first", "one that needs another")
        assert self._decoder is not None
        plain = self._decoder.decode(data)
        before, self._before = self._before or plain, plain
        if not fuse or self.fusion is None:
            return plain, None
        return plain, self.fusion(plain, before, cells, self.header.quantiser)


def start(frames: Sequence[Frame], header: Header, first: int) -> int:
    """Where decoding has to begin to show frame `first`. Raises BitstreamError if there is no such frame."""
    check(0 <= first < len(frames), "first", f"0..{len(frames) - 1}", first)
    return first - first % header.period


def _chained(first: tuple[Picture, bytes], rest: Iterator[tuple[Picture, bytes]]) -> Iterator[tuple[Picture, bytes]]:
    yield first
    yield from rest
