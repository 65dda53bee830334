"""picture → as much of the network as runs here → container, with the time each took, at an operating point."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import structlog

from common.bundle import Bundle
from common.codec import Layer, State
from common.codec.container import Container, Kind, pack, unpack
from common.curve import curves
from common.errors import BundleError
from common.payload import SHADOW, PictureCodec
from common.types import Mode
from edge import picture
from edge.points import Point
from edge.references import After
from edge.ways import WAYS, Laps, Network, Split, View

log = structlog.get_logger(__name__)

SHADOW_QUALITY = 90
"""Of the picture that a result is checked by: the network finds the same in it as in the original, nearly always."""

SENT = "sent"
"""Of an enhancement that travels with its frame."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A coded frame. Width and height are those of the picture, upright; `timing` is in milliseconds."""

    container: bytes
    width: int
    height: int
    point: Point
    content_type: str
    base_bytes: int
    shadow_bytes: int
    """0: no picture went along."""
    timing: dict[str, float]
    layered: bool = False
    """Whether enhancements can be coded of it."""
    pixels: str = ""
    """What became of the enhancement that was asked for with the frame; empty if none was."""
    pixels_bytes: int = 0
    """Of the enhancements in the container."""
    state: State | None = None
    """What the frame leaves for those coded after it, if the cloud is to hold that."""
    helped: bool | None = None
    """Whether it was coded after another because it has fewer bytes so; None where there was none."""
    standing: Layer | None = None
    """Of a frame that is coded after another, where enhancements are coded upon its base layer: that layer, saying the
    same without the other.
    """

    @property
    def kept(self) -> bytes:
        """What enhancements are coded by later: the container without what only checks it, and without need of another
        frame if they are coded upon it; empty if there are none.
        """
        if not self.layered:
            return b""
        if not (self.shadow_bytes or self.standing):
            return self.container
        whole = unpack(self.container)
        layers = [layer for layer in whole.layers if layer.kind != SHADOW]
        if self.standing is None:
            return pack(replace(whole, layers=layers))
        return pack(replace(whole, layers=[self.standing, *layers[1:]], keyframe=True))

    def without_pixels(self, why: str) -> "Encoded":
        """The same; `why` says what speaks against the enhancement."""
        return replace(self, pixels=why)

    def with_pixels(self, layers: Sequence[Layer]) -> "Encoded":
        """The same with these enhancements in the container."""
        whole = unpack(self.container)
        together = sorted([*whole.layers, *layers], key=lambda layer: layer.kind)
        size = sum(len(layer.payload) for layer in layers)
        container = pack(replace(whole, layers=together))
        return replace(self, container=container, pixels=SENT, pixels_bytes=size)


def base_only(container: bytes) -> bytes:
    """A container without what is not needed for its result."""
    whole = unpack(container)
    return pack(replace(whole, layers=[layer for layer in whole.layers if layer.kind == Kind.BASE]))


class Encoder:
    """Everything one bundle needs on the edge: another bundle is another Encoder. Raises BundleError."""

    def __init__(self, bundle: Bundle, threads: int = 1, max_pixels: int = 50_000_000) -> None:
        manifest = bundle.manifest
        network = cache(lambda: Network(bundle, threads))
        self.bundle = bundle
        self._all = {mode: WAYS[mode](bundle, network) for mode in manifest.modes}
        self.ways = dict(self._all)
        """Those that frames may go."""
        if not self.ways:
            raise BundleError(f"the files of {bundle!r} allow no mode: neither side has what it needs")
        self.curves = curves(manifest)
        self.layered = bool(manifest.layers)
        """Whether pictures can be coded as enhancements of what goes the way `split`."""
        self._input = manifest.input
        self._max_pixels = max_pixels
        self._shadow = PictureCodec()

    def __repr__(self) -> str:
        return f"<encoder of {self.bundle!r}: {', '.join(self.ways)}>"

    def prepare(self, modes: Iterable[Mode]) -> None:
        """Load what these modes need; a mode that does not work is said in the log and no longer among `ways`.

        Raises BundleError if none is left.
        """
        for mode in [mode for mode in self.ways if mode in modes]:
            try:
                self.ways[mode].prepare()
            except BundleError as e:
                log.warning("a mode does not work with this bundle and is left out", mode=mode, error=str(e))
                self.ways = {other: way for other, way in self.ways.items() if other is not mode}
                if not self.ways:
                    raise

    @property
    def checkable(self) -> bool:
        """Whether the cloud can check a result by a picture: it needs the front half for that."""
        return Mode.IMAGE in self._all

    @property
    def temporal(self) -> bool:
        """Whether frames of mode `split` can be coded after others."""
        way = self._all.get(Mode.SPLIT)
        return isinstance(way, Split) and way.temporal

    def encode(self, data: bytes, point: Point, shadow: bool = False, after: After | None = None) -> Encoded:
        """One compressed picture to one container, at a point of `ways`; with `shadow`, the picture goes along.

        `after` is for mode `split` of a bundle that is `temporal`: what the frame may be coded after.
        Raises FrameError if the picture is at fault, BundleError if the back half does not load.
        """
        laps, way = Laps(), self._all[point.mode]
        header = picture.read_header(data, self._max_pixels)
        width, height = header.seen
        box = self._input.box(width, height)
        view = View(picture.decode_content(data, header, box), box, self._input.width, self._input.pad)
        laps.done("decode_picture")
        if after is not None and isinstance(way, Split):
            layers, left, alone, standing = way.encode_after(view, point.quality, laps, *after)
            state = left if after.keep else None
        else:
            layers, state, alone, standing = way.encode(view, point.quality, laps), None, True, None
        helped = None if after is None or after.before is None else not alone
        base = len(layers[0].payload)
        beside = self._beside(view) if shadow and self.checkable and point.mode is not Mode.IMAGE else []
        every = [*layers, *beside]
        container = pack(Container(self.bundle.prefix, way.id, point.quality, width, height, every, keyframe=alone))
        shadow_bytes = sum(len(layer.payload) for layer in beside)
        layered = self.layered and point.mode is Mode.SPLIT
        content_type, timing = header.content_type, laps.ms
        return Encoded(
            container,
            width,
            height,
            point,
            content_type,
            base,
            shadow_bytes,
            timing,
            layered,
            state=state,
            helped=helped,
            standing=standing,
        )

    def _beside(self, view: View) -> list[Layer]:
        return [Layer(SHADOW, layer.payload) for layer in self._shadow.encode(view.content, SHADOW_QUALITY)]
