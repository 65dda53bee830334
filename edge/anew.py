"""Frames the cloud did not take because it lacks a reference: coded again, alone, of the picture in the ring."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import structlog

from common.bundle import Bundle
from common.codec.container import Kind, Layer, pack, unpack
from common.errors import MidstreamError
from common.types import Mode
from edge.encode import Encoder
from edge.goodput import Link
from edge.points import Point
from edge.spool import Kept, Pending, RingError, Spool, SpoolError
from edge.strangers import prefix_of

AWAY_S = 5.0
"""For so long the cloud must be away before what waits for it is coded again."""
LOOK_S = 2.0
AT_ONCE = 32, 4 << 20
"""Frames and bytes of them read from the spool."""

log = structlog.get_logger(__name__)


class AnewError(MidstreamError):
    """The frame cannot be coded again."""


class Anew:
    """`payload = await anew.coded(frame)`: the container that goes in place of the one that could not be decoded."""

    def __init__(
        self,
        spool: Spool,
        find: Callable[[bytes], Bundle | None],
        load: Callable[[Bundle], Awaitable[Encoder]],
    ) -> None:
        self._spool = spool
        self._find = find
        """The bundle with this prefix, if the edge has it."""
        self._load = load

    async def coded(self, frame: Pending) -> bytes:
        """Raises a MidstreamError that says why it cannot be had."""
        if unpack(frame.payload).keyframe:  # it only stood behind one that lacks its reference, whatever its mode
            return frame.payload
        kept = await self._picture(frame)
        if kept.container and (standing := unpack(kept.container)).keyframe:
            # What enhancements are coded upon says the same without other frames; coded again it would be another.
            return with_base(frame.payload, standing.layers[0])
        if (bundle := await asyncio.to_thread(self._find, prefix_of(frame.payload))) is None:
            raise AnewError("its bundle is gone: the edge runs another one by now")
        encoder = await self._load(bundle)
        try:
            return await asyncio.to_thread(partial(alone, encoder, kept.data, frame.payload))
        except MidstreamError:
            raise
        except Exception as e:  # it was coded once; whatever is wrong with it, those behind it must go on
            log.exception("a frame cannot be coded again", frame=frame.frame_id)
            raise AnewError(f"coding it again failed: {type(e).__name__}") from e

    async def _picture(self, frame: Pending) -> Kept:
        try:
            kept = await self._spool.picture(frame.frame_id)
        except RingError as e:  # it may never be read, and those behind it must go on
            raise AnewError(f"its picture is lost: {e}") from e
        if kept.gone:
            raise AnewError(f"its picture is gone: {kept.gone}")
        return kept

    async def ahead(self, link: Callable[[], Link]) -> None:
        """While the cloud is away, code alone what waits in the spool and was coded after another frame. For ever.

        When the cloud is back it may hold the other no more, and the picture may have gone from the ring by then.
        """
        seen = 0
        while True:
            await asyncio.sleep(LOOK_S)
            while link().down_s > AWAY_S and (frames := await self._spool.waiting(seen, *AT_ONCE)):
                for frame in frames:
                    seen = frame.seq
                    await self._recode(frame)

    async def _recode(self, frame: Pending) -> None:
        try:
            if not unpack(frame.payload).keyframe:
                self._spool.recode(frame.seq, await self.coded(frame))
        except SpoolError:
            raise
        except MidstreamError as e:
            log.warning("a frame that waits stays coded after another", frame=frame.frame_id, reason=str(e))


def alone(encoder: Encoder, data: bytes, payload: bytes) -> bytes:
    """The container with another base layer: of the same picture at the same quality, coded alone.

    Raises FrameError, BundleError or BitstreamError.
    """
    whole = unpack(payload)
    point = Point(Mode.SPLIT, whole.quality)
    return with_base(payload, unpack(encoder.encode(data, point).container).layers[0])


def with_base(payload: bytes, base: Layer) -> bytes:
    """The container with another base layer, which is coded alone. Raises BitstreamError."""
    whole = unpack(payload)
    layers = [base, *(layer for layer in whole.layers if layer.kind != Kind.BASE)]
    return pack(replace(whole, layers=layers, keyframe=True))
