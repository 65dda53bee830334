"""Enhancements that travel along with their frames, because whoever posted them asked: whether, and coding them.

What was promised is the frame. So whatever speaks against the pixels, or goes wrong with them, is noted and the frame
goes without them; they stay in the ring, to be asked for later. When the link or the edge has too much to do, they are
the first to be left out, before any frame is coded at a lower quality.
"""

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from common.codec import unpack
from common.errors import MidstreamError
from common.layers import BASE, FULL
from edge.allowance import Allowance
from edge.control import Control
from edge.encode import Encoded, Encoder
from edge.enhance import Enhancer
from edge.goodput import Link
from edge.spool import Spool

LAYERS = (BASE, FULL)
"""What may be asked for: the least that shows the picture, or all that the bundle has of it."""
PATIENCE_S = 10.0
"""How long a frame waits for its pixels. Those of its camera behind it wait too, for order."""
USUAL_MAX_PAYLOAD = 1 << 20
"""What the cloud is taken to accept in one packet as long as it has not been asked."""

log = structlog.get_logger(__name__)


class Along:
    """`encoded = await along.add(encoder, encoded, picture)`."""

    def __init__(self, enhancer: Enhancer, control: Control, spool: Spool) -> None:
        self.link: Callable[[], Link] = lambda: Link(down_s=math.inf)
        """What is known of the link; that of an edge which was given no cloud never comes up."""
        self.max_payload: Callable[[], int] = lambda: 0
        """Bytes of the largest packet the cloud takes; 0 as long as that is unknown."""
        self._enhancer = enhancer
        self._control = control
        self._spool = spool
        self._allowance = Allowance()

    async def add(self, encoder: Encoder, encoded: Encoded, data: bytes, layer: str = FULL) -> Encoded:
        """The frame with its pixels up to one of LAYERS, or without them and the reason why."""
        if why := self._against(encoder, encoded) or self._no_room():
            return encoded.without_pixels(why)
        try:
            async with asyncio.timeout(PATIENCE_S), self._enhancer.turn():
                return await self._coded(encoded, data, layer)
        except TimeoutError:
            return encoded.without_pixels(f"shed: they took longer than {PATIENCE_S:.0f} s")
        except MidstreamError as e:
            return encoded.without_pixels(f"failed: {e}")
        except Exception:
            log.exception("pixels were not coded by mistake")
            return encoded.without_pixels("failed: the edge made a mistake; its log says which")

    async def _coded(self, encoded: Encoded, data: bytes, layer: str) -> Encoded:
        """When it is this frame's turn, which ends with what it took of the link: the next one is asked after that."""
        if why := self._no_room():  # again: those before it, and the time it waited, may have taken the room
            return encoded.without_pixels(why)
        made = await self._enhancer.layers(unpack(encoded.kept), data, layer)
        whole = encoded.with_pixels([each.layer for each in made])
        if len(whole.container) > (most := self.max_payload() or USUAL_MAX_PAYLOAD):
            return encoded.without_pixels(f"shed: with them the frame has more than the {most} bytes the cloud takes")
        self._allowance.spent(whole.pixels_bytes)
        return whole

    def _against(self, encoder: Encoder, encoded: Encoded) -> str:
        """What speaks against coding pixels of this frame now; empty if nothing does."""
        if not encoder.layered:
            return "none: this bundle has no picture layers"
        if not encoded.layered:
            return f"none: frames of mode {encoded.point.mode} have no layers"
        if self._enhancer.full:
            return "shed: too many pictures are being coded"
        return ""

    def _no_room(self) -> str:
        """What speaks against more bytes on the link and in the spool; empty if nothing does."""
        link, now = self.link(), time.monotonic()
        if link.down_s > 0:
            return "shed: the cloud cannot be reached, and the spool is for frames"
        if self._spool.stats.charged > self._spool.limits.max_bytes // 2:
            return "shed: frames the cloud has not taken fill half of the spool"
        if not self._allowance.may(self._control.spare(link.rate, now), now):
            return "shed: the link has no room for them beside the frames"
        return ""
