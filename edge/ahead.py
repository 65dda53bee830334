"""Enhancements coded before anybody asks, of the newest frames, while there is nothing else to do.

Only with MIDSTREAM_EDGE_ENHANCE=idle: it costs a processor, and room in the ring, for pixels that perhaps nobody
looks at.
"""

import asyncio
import time

import structlog

from common.codec import unpack
from common.errors import MidstreamError
from common.layers import FULL
from edge.enhance import Enhancer
from edge.intake import Intake
from edge.layers import Layers
from edge.spool import Spool

TICK_S = 0.25
QUIET_S = 0.5
"""How long no frame must have come."""
NEWEST = 32
"""Frames, counted from the newest, that are worth it."""

log = structlog.get_logger(__name__)


class Ahead:
    """One task, for ever: `run`."""

    def __init__(self, spool: Spool, intake: Intake, enhancer: Enhancer, layers: Layers) -> None:
        self._spool = spool
        self._intake = intake
        self._enhancer = enhancer
        self._layers = layers
        self._hopeless: dict[str, None] = {}
        """Frames that cannot be had, so that they are not tried for ever."""

    async def run(self) -> None:
        """Code one after the other while the edge is idle."""
        while True:
            await asyncio.sleep(TICK_S)
            while self._idle() and (frame_id := await self._next()):
                await self._code(frame_id)

    def _idle(self) -> bool:
        quiet = time.monotonic() - self._intake.quiet_since
        return not self._intake.frames and not self._enhancer.waiting and quiet > QUIET_S

    async def _next(self) -> str | None:
        waiting = await self._spool.unlayered(NEWEST)
        self._hopeless = {frame_id: None for frame_id in waiting if frame_id in self._hopeless}
        return next((frame_id for frame_id in waiting if frame_id not in self._hopeless), None)

    async def _code(self, frame_id: str) -> None:
        self._hopeless[frame_id] = None  # until it is done
        try:
            async with self._enhancer.turn():
                kept = await self._spool.picture(frame_id)
                if kept.gone:
                    return
                made = await self._enhancer.layers(unpack(kept.container), kept.data, FULL)
                await self._layers.keep(frame_id, made)
        except MidstreamError as e:
            log.warning("pixels were not coded ahead", frame_id=frame_id, error=str(e))
