"""What an edge sent when it was asked for pixels. All that can be checked without decoding is checked here, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloud.frame import Coded, Original, Pixels
from common import codec
from common.bundle import Bundle
from common.codec import Layer
from common.errors import BitstreamError, BundleError, MidstreamError
from common.layers import quality_of
from common.scalable.regions import Region
from common.wire import stream_pb2 as wire

CONTAINER = "application/vnd.midstream.container"
MAX_BYTES = 15 * 1024 * 1024

_SIGNATURES = {
    "image/jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "image/png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
}


@dataclass(frozen=True, slots=True)
class Fits:
    """What a container must be to belong to a frame and to answer a wish: the frame's bundle, codec and size in pixels,
    these kinds and no others, the last in at least this quality; if that is `tiled`, all in the same.
    """

    bundle: Bundle
    codec: int
    width: int
    height: int
    kinds: tuple[int, ...]
    quality: int = 0
    tiled: bool = False
    upon: tuple[int, ...] = ()
    """Those of lower kinds that it is coded upon and that are not asked for: they are here."""

    def needed(self, came: Sequence[Layer]) -> tuple[int, ...]:
        """The kinds that must be here beside what came."""
        there = {layer.kind for layer in came}
        return tuple(kind for kind in (*self.upon, *self.kinds) if kind not in there)


@dataclass(frozen=True, slots=True)
class Wish:
    """A layer of a frame that is not here. `fits` is None for the original, which is no container.

    `regions`: the parts of it that are wanted, all if there are none. `below`: the checksum of what is here of the
    layers below it, all but the base; if the edge has the same, its reply is the last of the kinds alone.
    """

    edge: str
    frame: str
    layer: str
    fits: Fits | None = None
    with_base: bool = False
    quality: int = 0
    regions: tuple[Region, ...] = ()
    below: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(frame, layer): what is asked for once, however many want it."""
        return self.frame, self.layer


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there are no pixels: the HTTP status and the stable name that say so. `final`: asking again is of no use."""

    status: int
    name: str
    reason: str
    final: bool = False


class ReplyError(MidstreamError):
    """A reply without pixels that can be kept."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


_REFUSED = {
    wire.LAYER_STATUS_GONE: ("the edge does not have it any more", 410, "pixels-gone", True),
    wire.LAYER_STATUS_UNKNOWN_LAYER: ("the edge knows no such layer of it", 404, "no-such-layer", True),
    wire.LAYER_STATUS_INVALID: ("the edge refuses the request", 422, "invalid-request", True),
    wire.LAYER_STATUS_FAILED: ("the edge failed to code it; its log says how", 502, "edge-failed", False),
}


def read(reply: Any, wish: Wish, max_bytes: int) -> Pixels:
    """The pixels of a reply. Raises ReplyError."""
    if reply.status != wire.LAYER_STATUS_OK:
        said, status, name, final = _REFUSED.get(reply.status, _REFUSED[wire.LAYER_STATUS_FAILED])
        raise ReplyError(Refusal(status, name, reply.detail[:500] or said, final))
    if len(reply.payload) > max_bytes:
        raise _gone(f"the edge sent {len(reply.payload)} bytes, more than the {max_bytes} that are kept here")
    if wish.fits is None:
        return _original(reply)
    return _coded(reply, wish, wish.fits, max_bytes)


def _original(reply: Any) -> Original:
    is_picture = _SIGNATURES.get(reply.content_type)
    if is_picture is None or not is_picture(reply.payload[:16]):
        raise _gone(f"the edge sent something that is not a picture of type {reply.content_type!r:.64}")
    return Original(reply.content_type, reply.payload)


def _coded(reply: Any, wish: Wish, fits: Fits, max_bytes: int) -> Coded:
    if reply.content_type != CONTAINER:
        raise damaged(f"expected {CONTAINER}, got {reply.content_type!r:.64}")
    try:
        container = codec.unpack(reply.payload, codec.Limits(max_bytes=max_bytes))
    except BitstreamError as e:
        raise damaged(str(e)) from e
    expected = fits.bundle.prefix
    if container.bundle != expected:
        reason = f"the edge coded it with bundle {container.bundle.hex()}…, the frame with {expected.hex()}…"
        raise ReplyError(Refusal(409, "bundle-mismatch", reason))
    if container.codec != fits.codec:
        raise damaged(f"expected codec {fits.codec}, got {container.codec}")
    size = container.width, container.height
    if size != (fits.width, fits.height):
        raise damaged(f"expected the frame's {fits.width}x{fits.height} pixels, got {size[0]}x{size[1]}")
    kinds = tuple(layer.kind for layer in container.layers)
    if kinds != fits.kinds and (wish.below is None or kinds != fits.kinds[-1:]):
        raise damaged(f"expected layers of kinds {list(fits.kinds)}, got {list(kinds)}")
    qualities = [quality_of(layer) for layer in container.layers if layer.kind != codec.Kind.BASE]
    if fits.quality and qualities[-1:] < [fits.quality]:
        raise damaged(f"expected a quality of at least {fits.quality}, got {qualities}")
    if fits.tiled and len(set(qualities)) > 1:
        raise damaged(f"expected layers of one quality, got {qualities}")
    return Coded(tuple(container.layers))


def _gone(reason: str) -> ReplyError:
    return ReplyError(Refusal(410, "pixels-gone", reason, final=True))


def damaged(reason: str) -> ReplyError:
    """What came from an edge cannot be read. It may come whole the next time."""
    return ReplyError(Refusal(422, "layer-damaged", f"what the edge sent is damaged: {reason}"))


def unusable(error: BundleError) -> Refusal:
    """The bundle that a frame was coded with does not work here."""
    return Refusal(409, "bundle-unusable", str(error))
