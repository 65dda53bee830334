"""The second loop: from the spool to the cloud and back. Opens the stream, and again whenever it ends.

Sent is not delivered: a frame leaves the spool when the cloud acks or nacks it, and a new stream begins with the
oldest frame that was neither. The cloud knows frames by (edge, epoch, seq), so sending one twice stores it once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import structlog

from common.errors import MidstreamError
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc
from edge.goodput import Goodput, Link
from edge.ingest import LinkState, Outcome, Stream
from edge.layers import Layers
from edge.link import backoff
from edge.meter import Meter
from edge.references import References
from edge.spool import Pending, Spool, SpoolError
from edge.strangers import StrangerError, Strangers, StreamEndedError

WELCOME_SECONDS = 10.0
STEADY_SECONDS = 10.0
"""A stream that lived so long was a good one: the next waits as little as the first."""
TROUBLE = grpc.aio.AioRpcError, StreamEndedError, SpoolError, TimeoutError, asyncio.InvalidStateError
"""What ends a stream without being a mistake of ours."""

log = structlog.get_logger(__name__)


class Uplink:
    """`run()` until cancelled. `expect()`, called before a frame is put, brings its detections with the ack."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        spool: Spool,
        edge_id: str,
        software: str,
        meter: Meter,
        layers: Layers,
        patience: float = 600.0,
        references: References | None = None,
    ) -> None:
        self._stub = rpc.IngestServiceStub(channel)
        self._hello = pb.Hello(edge_id=edge_id, epoch=spool.epoch, software=software, acks_together=True)
        self._spool = spool
        self._meter = meter
        self._layers = layers
        self.expected: dict[str, asyncio.Future[Outcome]] = {}
        self.state = LinkState()
        self.goodput = Goodput()
        self._strangers = Strangers(patience)
        self._away_since: float | None = None
        """Since when the cloud cannot be asked. A stream that ends because of a stranger was an answer."""
        self._told = ""
        """The trouble logged last. A stream that ends right after its Welcome, time and again, is logged once."""
        self.on_bundle: Callable[[str], None] = lambda digest: None
        """Hears which bundle the cloud wants used."""
        self.references = References(False, 0) if references is None else references
        self.anew: Callable[[Pending], Awaitable[bytes]] = _never_anew
        """Codes a frame again, alone."""

    def __repr__(self) -> str:
        s = self.state
        return f"<uplink: {'up' if s.up else s.trouble}, {len(s.in_flight)} of {s.window} in flight>"

    def link(self) -> Link:
        """What is known of the link, for those who decide what to send."""
        state, now = self.state, time.monotonic()
        flight = self.goodput.seconds_in_flight
        answered = state.window / flight if state.up and flight else None
        return Link(self.goodput.rate_at(now), 0.0 if state.up else now - state.since, answered)

    def limited(self) -> bool:
        """Whether the link is known to carry only so much."""
        return self.goodput.rate_at(time.monotonic()) is not None

    def max_payload(self) -> int:
        """Bytes of the largest packet the cloud takes; 0 as long as it has not said."""
        return self.state.max_payload

    def expect(self, frame_id: str) -> "asyncio.Future[Outcome]":
        """A future of this frame's outcome. Whoever stops waiting cancels it."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.expected[frame_id] = future
        future.add_done_callback(lambda _: self.expected.pop(frame_id, None))
        return future

    async def run(self) -> None:
        """Keep a stream open, for ever."""
        delays = backoff()
        while True:
            began, trouble, away = time.monotonic(), "", True
            try:
                await self._stream()
            except* StrangerError as errors:
                trouble, away = _sentence(errors), False
                if StrangerError.failed_in(errors):
                    delays = backoff()
            except* TROUBLE as errors:
                trouble = trouble or _sentence(errors)
            if away and self._away_since is None:
                self._away_since = max(began, self.state.since)
            if time.monotonic() - began > STEADY_SECONDS:
                delays, self._told = backoff(), ""
            self._down(trouble)
            await asyncio.sleep(next(delays))

    async def drained(self) -> None:
        """Return when the cloud has answered for every frame in the spool, or cannot be reached to do so."""
        await self._spool.settle()
        while self._spool.stats.queued and self.state.up:
            await asyncio.sleep(0.05)
            await self._spool.settle()

    async def _stream(self) -> None:
        call = self._stub.Ingest()
        try:
            await call.write(pb.IngestRequest(hello=self._hello))
            welcome = await _welcome(call)
            self._welcomed(welcome)
            stream = Stream(
                call,
                self._spool,
                self._meter,
                self.state,
                self.expected,
                self.goodput,
                self._strangers,
                self._layers,
                self.references,
                self.anew,
            )
            await stream.run()
        finally:
            if self.state.up:
                self.state.up, self.state.since = False, time.monotonic()
            self.state.in_flight = {}
            self.goodput.broken()
            self.references.away()
            self._meter.link(up=False)
            call.cancel()

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self.state = LinkState(True, "", welcome.window, welcome.max_payload_bytes)
        if self._away_since is not None:
            self._strangers.away(time.monotonic() - self._away_since)
            self._away_since = None
        self.goodput.hint = 0
        self.references.welcome(welcome.references)
        self._meter.link(up=True)
        log.info("link up", window=welcome.window, queued=self._spool.stats.queued, bundle=welcome.bundle_digest[:12])
        self.on_bundle(welcome.bundle_digest)

    def _down(self, trouble: str) -> None:
        if trouble != self._told:  # the tenth refused connection is no news
            log.warning("link down", reason=trouble, queued=self._spool.stats.queued)
        self.state.trouble = self._told = trouble


async def _welcome(call: grpc.aio.StreamStreamCall) -> pb.Welcome:
    message = await asyncio.wait_for(call.read(), WELCOME_SECONDS)
    if message is grpc.aio.EOF or message.WhichOneof("message") != "welcome":
        raise StreamEndedError("the cloud did not answer Hello with Welcome")
    if not message.welcome.window:
        raise StreamEndedError("the cloud's Welcome has a window of 0")
    answer: pb.Welcome = message.welcome
    return answer


async def _never_anew(frame: Pending) -> bytes:
    raise MidstreamError("it cannot be coded again")


def _sentence(errors: BaseException) -> str:
    """What happened, in words, without the stack of a connection that was refused."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    if isinstance(errors, grpc.aio.AioRpcError):
        return f"{errors.code().name}: {errors.details()}"
    return str(errors) or type(errors).__name__
