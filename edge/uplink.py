"""The second loop: from the spool to the cloud and back. One task owns the stream.

Sent is not delivered: a frame leaves the spool when the cloud acks or nacks it, and a new stream begins with the
oldest frame that was neither. The cloud knows frames by (edge, epoch, seq), so sending one twice stores it once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import grpc
import grpc.aio
import structlog

from common.errors import MidstreamError
from common.types import Detection
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc
from edge.anew import Again
from edge.encode import SENT, base_only
from edge.goodput import Goodput, Link
from edge.layers import LANES, Layers
from edge.link import backoff
from edge.meter import Meter
from edge.references import References
from edge.requests import Requests
from edge.spool import Pending, Spool, SpoolError, now_us
from edge.strangers import StrangerError, Strangers, StreamEndedError, prefix_of

WELCOME_SECONDS = 10.0
AHEAD = 32
"""Frames read from the spool at once, unless they are large: then AHEAD_BYTES."""
AHEAD_BYTES = 4 << 20
STEADY_SECONDS = 10.0
"""A stream that lived so long was a good one: the next waits as little as the first."""
TROUBLE = grpc.aio.AioRpcError, StreamEndedError, SpoolError, TimeoutError, asyncio.InvalidStateError
"""What ends a stream without being a mistake of ours."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the cloud said of a frame. `refusal` is empty when its result is stored."""

    detections: tuple[Detection, ...] = ()
    refusal: str = ""


@dataclass(slots=True)
class LinkState:
    """How the link is, for health and metrics."""

    up: bool = False
    trouble: str = "not connected yet"
    window: int = 0
    max_payload: int = 0
    in_flight: dict[int, Pending] = field(default_factory=dict)
    """Sent on this stream and neither acked nor nacked."""
    since: float = field(default_factory=time.monotonic)
    """When the link came up, or went down."""


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
        self._hello = pb.Hello(edge_id=edge_id, epoch=spool.epoch, software=software)
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
            stream = _Stream(
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
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stream.receive())
                tasks.create_task(stream.send())
                tasks.create_task(stream.send_anew())
                for _ in range(LANES):
                    tasks.create_task(stream.requests.answer())
                tasks.create_task(stream.requests.refuse())
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


class _Stream:
    """One stream after its Welcome: loops that share one call."""

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall,
        spool: Spool,
        meter: Meter,
        state: LinkState,
        expected: "dict[str, asyncio.Future[Outcome]]",
        goodput: Goodput,
        strangers: Strangers,
        layers: Layers,
        references: References,
        anew: Callable[[Pending], Awaitable[bytes]],
    ) -> None:
        self._call = call
        self._spool = spool
        self._meter = meter
        self._state = state
        self._expected = expected
        self._goodput = goodput
        self._strangers = strangers
        self._references = references
        self._anew = anew
        self._again = Again()
        self._seq = 0
        """Everything up to here was read from the spool."""
        self._ahead: deque[Pending] = deque()
        self._returned = asyncio.Event()
        self._writing = asyncio.Lock()
        self.requests = Requests(layers, meter, goodput, self._write)

    # ---- up ---------------------------------------------------------------------------------------------------------

    async def send(self) -> None:
        """Frames in the order of their seq, as many as there are credits."""
        while True:
            while not self._ahead:
                await self._read_ahead()
            await self._room()
            await self._send(self._ahead.popleft())

    async def _room(self) -> None:
        """Wait until another frame may go: those that go anew take their credits first."""
        while not self._again.none.is_set() or len(self._state.in_flight) >= self._state.window:
            await self._again.none.wait()
            if len(self._state.in_flight) >= self._state.window:
                self._goodput.full()
                self._returned.clear()
                await self._returned.wait()

    async def _read_ahead(self) -> None:
        self._spool.fresh.clear()
        frames = await self._spool.pending(self._seq, AHEAD, AHEAD_BYTES)
        if frames:
            self._ahead.extend(frames)
            self._seq = frames[-1].seq
        else:
            await self._spool.fresh.wait()

    async def _send(self, frame: Pending) -> None:
        now = now_us()
        if frame.seq > self._spool.claims.tried and frame.expired(now):
            self._end(frame, "expired", "older than its max_age before it was sent")
            return
        if len(frame.payload) > self._state.max_payload:
            frame = self._reduced(frame)
        if len(frame.payload) > self._state.max_payload:
            self._end(frame, "failed", "larger than the cloud takes", f"{len(frame.payload)} bytes")
            return
        if not self._spool.claims.send(frame.seq):
            return  # it waited here for a credit until the spool's sweep found it too old
        self._state.in_flight[frame.seq] = frame
        self._goodput.sent(frame.seq, len(frame.payload), time.monotonic())
        await self._write(pb.IngestRequest(packet=self._packet(frame, now)))
        self._meter.sent(len(frame.payload))

    def _reduced(self, frame: Pending) -> Pending:
        """The frame without what its result does not need; the ledger must not go on saying that its pixels went."""
        if frame.pixels == SENT:
            most = self._state.max_payload
            self._spool.left_out(frame.seq, f"shed: with them the frame has more than the {most} bytes the cloud takes")
            self._meter.refused("pixels shed")
        return replace(frame, payload=base_only(frame.payload))

    async def send_anew(self) -> None:
        """Frames that the cloud could not decode because it did not hold what they were coded after."""
        while True:
            for frame in await self._again.next(self._state.in_flight, self._returned):
                await self._send_again(frame)
            self._again.sent()

    async def _send_again(self, frame: Pending) -> None:
        now = now_us()
        try:
            payload = await self._anew(frame)
        except SpoolError:  # the disk's trouble, not the frame's: the stream begins again
            raise
        except MidstreamError as e:
            self._end(frame, "failed", "missing reference", str(e)[:500])
            return
        self._meter.anew()
        frame = replace(frame, payload=payload)
        self._state.in_flight[frame.seq] = frame
        self._goodput.sent(frame.seq, len(payload), time.monotonic())
        await self._write(pb.IngestRequest(packet=self._packet(frame, now, anew=True)))
        self._meter.sent(len(payload))

    def _packet(self, frame: Pending, now: int, anew: bool = False) -> pb.Packet:
        durable = self._spool.durable_us(frame.seq)
        waited = {"queue": (now - (durable or frame.accepted_us)) / 1e3}
        if durable is not None:
            waited["spool"] = (durable - frame.accepted_us) / 1e3
        self._meter.stages({"queue": waited["queue"]})
        return pb.Packet(
            seq=frame.seq,
            frame_id=frame.frame_id,
            camera=frame.camera,
            captured_unix_us=frame.captured_us,
            accepted_unix_us=frame.accepted_us,
            sent_unix_us=now,
            max_age_ms=frame.max_age_ms,
            payload=frame.payload,
            source_bytes=frame.source_bytes,
            edge_ms=frame.timing | waited,
            want_result=frame.frame_id in self._expected,
            anew=anew,
        )

    async def _write(self, message: pb.IngestRequest) -> None:
        async with self._writing:  # gRPC allows one write at a time
            await self._call.write(message)

    # ---- down -------------------------------------------------------------------------------------------------------

    async def receive(self) -> None:
        """Acks, nacks, credits and requests, until the cloud ends the stream."""
        handlers: dict[str, Callable[..., None]] = {
            "ack": self._acked,
            "nack": self._nacked,
            "credit": self._credited,
            "layer_request": self.requests.take,
            "rate_hint": self._rate_hinted,
        }
        while (message := await self._call.read()) is not grpc.aio.EOF:
            self._meter.received(message.ByteSize())
            kind = message.WhichOneof("message")
            if handler := handlers.get(kind or ""):
                handler(getattr(message, kind))
        raise StreamEndedError("the cloud ended the stream")

    def _acked(self, ack: pb.Ack) -> None:
        if (frame := self._state.in_flight.get(ack.seq)) is None:
            return
        held = ack.held_ms / 1e3 if ack.HasField("held_ms") else None
        self._goodput.acked(frame.seq, time.monotonic(), held)
        self._strangers.known(prefix_of(frame.payload))
        self._meter.acked(frame.accepted_us)
        self._references.acked(frame.frame_id)
        found = tuple(Detection(d.label, d.score, (d.x1, d.y1, d.x2, d.y2)) for d in ack.detections)
        self._end(frame, "done", outcome=Outcome(found))

    def _nacked(self, nack: pb.Nack) -> None:
        if (frame := self._state.in_flight.get(nack.seq)) is None:
            return
        self._goodput.acked(frame.seq, time.monotonic())
        self._references.ended(frame.frame_id)
        if nack.reason == pb.NACK_REASON_UNKNOWN_BUNDLE:
            self._strange(frame, nack.detail[:500])
        if nack.reason == pb.NACK_REASON_MISSING_REFERENCE:
            self._references.lost(frame.camera)
            del self._state.in_flight[frame.seq]
            self._again.add(frame)
            self._returned.set()
            return
        reason = _reason(nack.reason)
        log.warning("the cloud refused a frame", frame_id=frame.frame_id, reason=reason, detail=nack.detail)
        if nack.reason == pb.NACK_REASON_CORRUPT:
            self._meter.corrupt()
        if nack.reason == pb.NACK_REASON_EXPIRED:
            self._end(frame, "expired", "older than its max_age in the cloud")
        else:
            self._end(frame, "failed", reason, nack.detail[:500])

    def _strange(self, frame: Pending, detail: str) -> None:
        """Of a cloud that is being upgraded, not of the frame: it stays in the spool. If that takes too long, it fails,
        and so do those of its bundle behind it, which the cloud did not take either. Raises StrangerError.
        """
        bundle = prefix_of(frame.payload)
        if not self._strangers.over(bundle, time.monotonic()):
            self._state.in_flight.pop(frame.seq)
            self._spool.claims.give_back(frame.seq)
            raise StrangerError(detail, failed=False)
        log.warning("the cloud refused a frame", frame_id=frame.frame_id, reason="unknown bundle", detail=detail)
        for one in list(self._state.in_flight.values()):
            if one.seq >= frame.seq and prefix_of(one.payload) == bundle:
                self._end(one, "failed", "unknown bundle", detail)
        raise StrangerError(detail, failed=True)

    def _end(
        self, frame: Pending, state: str, reason: str = "", detail: str = "", outcome: Outcome | None = None
    ) -> None:
        waiter = self._expected.get(frame.frame_id)
        self._state.in_flight.pop(frame.seq, None)
        self._returned.set()
        self._spool.finish(frame.seq, state, reason, detail, soon=waiter is not None)
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome or Outcome(refusal=f"{state}: {reason}{': ' if detail else ''}{detail}"))

    def _rate_hinted(self, hint: pb.RateHint) -> None:
        self._goodput.hint = hint.bytes_per_second

    def _credited(self, credit: pb.Credit) -> None:
        self._state.window = credit.window
        self._returned.set()


async def _never_anew(frame: Pending) -> bytes:
    raise MidstreamError("it cannot be coded again")


def _reason(number: int) -> str:
    """In words, also of a cloud that knows more reasons than this edge."""
    try:
        name: str = pb.NackReason.Name(number)
    except ValueError:
        return f"reason {number}"
    return name.removeprefix("NACK_REASON_").lower().replace("_", " ")


def _sentence(errors: BaseException) -> str:
    """What happened, in words, without the stack of a connection that was refused."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    if isinstance(errors, grpc.aio.AioRpcError):
        return f"{errors.code().name}: {errors.details()}"
    return str(errors) or type(errors).__name__
