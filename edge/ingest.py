"""One stream to the cloud after its Welcome: packets go up, acks, nacks, credits and requests come down.

As many frames are in flight as the window allows. One that is acked or refused ends in the spool; one that the cloud
only cannot decode for want of a reference is coded anew, and its camera's next ones wait for it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import grpc
import grpc.aio
import structlog

from common.errors import MidstreamError
from common.types import Detection
from common.wire import stream_pb2 as pb
from edge.encode import SENT, base_only
from edge.goodput import Goodput
from edge.layers import LANES, Layers
from edge.meter import Meter
from edge.references import References
from edge.requests import Requests
from edge.spool import Pending, Spool, SpoolError, now_us
from edge.strangers import StrangerError, Strangers, StreamEndedError, prefix_of
from edge.turns import Turn, Turns

AHEAD = 32
"""Frames read from the spool at once, unless they are large: then AHEAD_BYTES."""
AHEAD_BYTES = 4 << 20

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


class Stream:
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
        self._turns = Turns()
        self._seq = 0
        """Everything up to here was read from the spool."""
        self._hungry = asyncio.Event()
        """Set while more must be read from the spool."""
        self._news = asyncio.Event()
        """Set when something has changed for those who send."""
        self._writing = asyncio.Lock()
        self.requests = Requests(layers, meter, goodput, self._write)

    async def run(self) -> None:
        """Until the stream ends. Raises what ended it, in a group."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive())
            tasks.create_task(self._send())
            tasks.create_task(self._read_ahead())
            tasks.create_task(self._code_anew())
            for _ in range(LANES):
                tasks.create_task(self.requests.answer())
            tasks.create_task(self.requests.refuse())

    # ---- up ---------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Frames as it is their turn, as many as there are credits."""
        while True:
            if (turn := self._next()) is None:
                self._news.clear()
                await self._news.wait()
            elif frame := turn.frame if turn.anew else self._fit(turn.frame):
                await self._send_packet(frame, turn.anew)

    def _next(self) -> Turn | None:
        """The frame that may go now."""
        if self._turns.hungry:
            self._hungry.set()
        if not self._turns.ready:
            return None
        if len(self._state.in_flight) >= self._state.window:
            self._goodput.full()
            return None
        return self._turns.next()

    async def _read_ahead(self) -> None:
        while True:
            await self._hungry.wait()
            self._spool.fresh.clear()
            frames = await self._spool.pending(self._seq, AHEAD, AHEAD_BYTES)
            if not frames:
                await self._spool.fresh.wait()
                continue
            self._hungry.clear()
            self._turns.read(frames)
            self._seq = frames[-1].seq
            self._news.set()

    def _fit(self, frame: Pending) -> Pending | None:
        """A frame as it may be sent for the first time; None if it is too old or too large by now."""
        if frame.seq > self._spool.claims.tried and frame.expired(now_us()):
            self._end(frame, "expired", "older than its max_age before it was sent")
            return None
        if len(frame.payload) > self._state.max_payload:
            frame = self._reduced(frame)
        if len(frame.payload) > self._state.max_payload:
            self._end(frame, "failed", "larger than the cloud takes", f"{len(frame.payload)} bytes")
            return None
        # It may have waited here for its turn until the spool's sweep found it too old.
        return frame if self._spool.claims.send(frame.seq) else None

    async def _send_packet(self, frame: Pending, anew: bool) -> None:
        self._state.in_flight[frame.seq] = frame
        self._goodput.sent(frame.seq, len(frame.payload), time.monotonic())
        await self._write(pb.IngestRequest(packet=self._packet(frame, anew)))
        self._meter.sent(len(frame.payload))

    def _reduced(self, frame: Pending) -> Pending:
        """The frame without what its result does not need; the ledger must not go on saying that its pixels went."""
        if frame.pixels == SENT:
            most = self._state.max_payload
            self._spool.left_out(frame.seq, f"shed: with them the frame has more than the {most} bytes the cloud takes")
            self._meter.refused("pixels shed")
        return replace(frame, payload=base_only(frame.payload))

    async def _code_anew(self) -> None:
        """Frames that the cloud could not decode because it did not hold what they were coded after."""
        while True:
            await self._turns.some_lost.wait()
            frames = self._turns.due(self._state.in_flight.values())
            for frame in frames:
                await self._code_one_anew(frame)
            if not frames:
                self._news.clear()
                await self._news.wait()

    async def _code_one_anew(self, frame: Pending) -> None:
        try:
            payload = await self._anew(frame)
        except SpoolError:  # the disk's trouble, not the frame's: the stream begins again
            raise
        except MidstreamError as e:
            self._turns.given_up(frame)
            self._end(frame, "failed", "missing reference", str(e)[:500])
            return
        self._meter.anew()
        frame = replace(frame, payload=payload)  # alone it has more bytes than it had
        self._turns.coded(self._reduced(frame) if len(payload) > self._state.max_payload else frame)
        self._news.set()

    def _packet(self, frame: Pending, anew: bool) -> pb.Packet:
        now, durable = now_us(), self._spool.durable_us(frame.seq)
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

    async def _receive(self) -> None:
        """Acks, nacks, credits and requests, until the cloud ends the stream."""
        handlers: dict[str, Callable[..., None]] = {
            "ack": self._acked,
            "acks": self._all_acked,
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

    def _all_acked(self, acks: pb.Acks) -> None:
        for ack in acks.acks:
            self._acked(ack)

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
            self._turns.lost(frame)
            self._news.set()
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
        self._news.set()
        self._spool.finish(frame.seq, state, reason, detail, soon=waiter is not None)
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome or Outcome(refusal=f"{state}: {reason}{': ' if detail else ''}{detail}"))

    def _rate_hinted(self, hint: pb.RateHint) -> None:
        self._goodput.hint = hint.bytes_per_second

    def _credited(self, credit: pb.Credit) -> None:
        self._state.window = credit.window
        self._news.set()


def _reason(number: int) -> str:
    """In words, also of a cloud that knows more reasons than this edge."""
    try:
        name: str = pb.NackReason.Name(number)
    except ValueError:
        return f"reason {number}"
    return name.removeprefix("NACK_REASON_").lower().replace("_", " ")
