"""What the cloud gets when it asks for a layer of a frame: the picture as received, the frame as sent, or an
enhancement, coded now or before.

An original is large and only read, an enhancement is small and takes time; so each kind has a bound of its own: one
original in memory at a time, until it is on its way, and as many pictures waiting to be coded as enhance.py admits.
Neither waits for the other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import structlog

from common.codec import Container, Kind, Layer, pack, unpack
from common.errors import MidstreamError
from common.layers import BASE, FULL, MOST_REGIONS, NAMES, ORIGINAL, checksum
from common.scalable.regions import Region
from common.wire import stream_pb2 as pb
from edge.enhance import PLACES, BundleGoneError, BusyError, Enhancer, Made, NoLayerError, RangeError
from edge.spool import Spool, SpoolError

LANES = PLACES + 2
"""Requests that are answered at once: more than may wait for an enhancement, so that originals need not."""
MAX_REPLY_BYTES = 15 << 20
"""More would not fit a gRPC message."""
CONTAINER_TYPE = "application/vnd.midstream.container"
_STATUS: dict[type[MidstreamError], pb.LayerStatus] = {
    BusyError: pb.LAYER_STATUS_BUSY,
    NoLayerError: pb.LAYER_STATUS_UNKNOWN_LAYER,
    RangeError: pb.LAYER_STATUS_INVALID,
    BundleGoneError: pb.LAYER_STATUS_GONE,
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the cloud: a payload of this type, or why there is none."""

    status: pb.LayerStatus
    detail: str = ""
    content_type: str = ""
    payload: bytes = b""


class Layers:
    """`async with layers.answer(request) as answer`: send it before the block ends."""

    def __init__(self, spool: Spool, enhancer: Enhancer) -> None:
        self._spool = spool
        self._enhancer = enhancer
        self._original = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def answer(self, request: pb.LayerRequest) -> AsyncIterator[Answer]:
        """Whatever goes wrong is an answer."""
        async with contextlib.AsyncExitStack() as until_sent:
            yield await self._answer(request, until_sent)

    async def _answer(self, request: pb.LayerRequest, until_sent: contextlib.AsyncExitStack) -> Answer:
        try:
            if (answer := await self._layer(request)) is not None:
                return answer
            await until_sent.enter_async_context(self._original)
            kept = await self._spool.picture(request.frame_id)
            gone = Answer(pb.LAYER_STATUS_GONE, kept.gone)
            return gone if kept.gone else Answer(pb.LAYER_STATUS_OK, "", kept.content_type, kept.data)
        except MidstreamError as e:
            return Answer(_STATUS.get(type(e), pb.LAYER_STATUS_FAILED), str(e)[:500])
        except Exception:
            log.exception("a layer was not coded by mistake", frame_id=request.frame_id, layer=request.layer)
            return Answer(pb.LAYER_STATUS_FAILED, "the edge made a mistake; its log says which")

    async def _layer(self, request: pb.LayerRequest) -> Answer | None:
        """The answer, unless it is the picture as received."""
        if request.layer not in NAMES:
            there = ", ".join(NAMES)
            return Answer(pb.LAYER_STATUS_UNKNOWN_LAYER, f"no layer {request.layer[:64]!r}; there may be {there}")
        if len(request.regions) > MOST_REGIONS:
            return Answer(pb.LAYER_STATUS_INVALID, f"{len(request.regions)} regions are more than {MOST_REGIONS}")
        if request.layer == ORIGINAL:
            return None
        kept = await self._spool.container(request.frame_id)
        if kept.gone:
            return Answer(pb.LAYER_STATUS_GONE, kept.gone)
        if not kept.container:
            refusal = f"the frame was not coded with a layer {request.layer!r}"
            return None if request.layer == FULL else Answer(pb.LAYER_STATUS_UNKNOWN_LAYER, refusal)
        if request.layer == BASE:
            container = unpack(kept.container)
            return _packed(container, _base(container))
        async with self._enhancer.turn():
            return await self._enhanced(request)

    async def _enhanced(self, request: pb.LayerRequest) -> Answer:
        kept = await self._spool.picture(request.frame_id)
        if kept.gone:
            return Answer(pb.LAYER_STATUS_GONE, kept.gone)
        container, known = unpack(kept.container), await self._spool.layers(request.frame_id)
        made = await self._enhancer.layers(container, kept.data, request.layer, request.quality, known)
        await self.keep(request.frame_id, made)
        below, last = [each.layer for each in made[:-1]], made[-1].layer
        if request.regions:
            regions = [Region(r.x, r.y, r.width, r.height) for r in request.regions]
            last = await self._enhancer.cut(container, made[-1], regions)
        if request.HasField("below") and request.below == checksum(below):
            below = []
        return _packed(container, [*_base(container, request.with_base), *below, last])

    async def keep(self, frame_id: str, made: Sequence[Made]) -> None:
        """What was coded just now need not be coded again, not even for whoever waits behind.

        Something whose own base is not kept is not kept either: it would fit no other.
        """
        with contextlib.suppress(SpoolError):  # then it is coded again
            for each in (one for one in made if one.new):
                if not await self._spool.keep_layer(frame_id, each.layer.kind, each.quality, each.layer.payload):
                    return


def _base(container: Container, wanted: bool = True) -> list[Layer]:
    return [layer for layer in container.layers if layer.kind == Kind.BASE] if wanted else []


def _packed(container: Container, layers: list[Layer]) -> Answer:
    payload = pack(replace(container, layers=layers))
    if len(payload) > MAX_REPLY_BYTES:
        return Answer(pb.LAYER_STATUS_FAILED, f"it has {len(payload)} bytes, more than {MAX_REPLY_BYTES}")
    return Answer(pb.LAYER_STATUS_OK, "", CONTAINER_TYPE, payload)
