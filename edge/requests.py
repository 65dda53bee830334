"""Pixels on demand, as the stream to the cloud sees them: requests wait, bounded, and are answered between frames."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from common.wire import stream_pb2 as pb
from edge.goodput import Goodput
from edge.layers import Layers
from edge.meter import Meter

LAYER_REQUESTS = 64
"""Requests for layers waiting at most; one beyond is told to ask again."""
LAYER_REFUSALS = 1024
"""How many that are told so may wait for the link; one beyond is not answered: the cloud gives up in time."""

_BUSY = f"{LAYER_REQUESTS} requests for layers wait; ask again"


class Requests:
    """Of one stream. `write` sends a message on it."""

    def __init__(
        self, layers: Layers, meter: Meter, goodput: Goodput, write: Callable[[pb.IngestRequest], Awaitable[None]]
    ) -> None:
        self._layers = layers
        self._meter = meter
        self._goodput = goodput
        self._write = write
        self._asked: asyncio.Queue[pb.LayerRequest] = asyncio.Queue(LAYER_REQUESTS)
        self._refused: asyncio.Queue[str] = asyncio.Queue(LAYER_REFUSALS)

    def take(self, request: pb.LayerRequest) -> None:
        """Somebody wants to look."""
        with contextlib.suppress(asyncio.QueueFull):
            self._asked.put_nowait(request)
            return
        self._meter.refused("layer requests")
        with contextlib.suppress(asyncio.QueueFull):
            self._refused.put_nowait(request.request_id)

    async def refuse(self) -> None:
        """Tell whoever asked for more than can wait. A loop of its own: the one that reads must not wait to write."""
        while True:
            reply = pb.LayerReply(request_id=await self._refused.get(), status=pb.LAYER_STATUS_BUSY, detail=_BUSY)
            await self._write(pb.IngestRequest(layer_reply=reply))

    async def answer(self) -> None:
        """One of LANES that take requests and answer them between the frames."""
        while True:
            request = await self._asked.get()
            async with self._layers.answer(request) as answer:
                reply = pb.LayerReply(
                    request_id=request.request_id,
                    status=answer.status,
                    content_type=answer.content_type,
                    payload=answer.payload,
                    detail=answer.detail,
                )
                self._meter.sent(len(reply.payload))
                await self._write(pb.IngestRequest(layer_reply=reply))
                self._goodput.replied(len(reply.payload), time.monotonic())
