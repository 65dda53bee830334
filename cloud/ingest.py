"""The streams of the edges: packets come up, acks go down. An ack is sent only after the commit.

Each stream has one reader (this handler's task group) and one writer (the handler itself), because a gRPC stream
must not be written from two tasks. They share a Link. Reading stops while the pipeline is full.
"""

import asyncio
import time
from typing import Any

import grpc
import structlog

from cloud.frame import Frame, Reason, Refused, Stored, Verdict
from cloud.layers import Layers
from cloud.links import Goodbye, Link, Links, Waiting
from cloud.packets import MAX_PAYLOAD_BYTES, NAME, UUID, PacketError, frame_of
from cloud.pipeline import Pipeline
from cloud.registry import Registry
from cloud.store import Store
from common.codec import Kind
from common.errors import MidstreamError
from common.payload import SHADOW
from common.telemetry import Metrics
from common.types import Detection
from common.wire import stream_pb2 as wire
from common.wire import stream_pb2_grpc

log = structlog.get_logger()

HELLO_SECONDS = 10.0
_UNREAD_MAX = 10_000
"""Messages an edge may leave unread before it is thrown out."""

_NACKS = {
    Reason.CORRUPT: wire.NACK_REASON_CORRUPT,
    Reason.UNKNOWN_BUNDLE: wire.NACK_REASON_UNKNOWN_BUNDLE,
    Reason.EXPIRED: wire.NACK_REASON_EXPIRED,
    Reason.INVALID: wire.NACK_REASON_INVALID,
    Reason.FAILED: wire.NACK_REASON_FAILED,
    Reason.MISSING_REFERENCE: wire.NACK_REASON_MISSING_REFERENCE,
}


class ProtocolError(MidstreamError):
    """The edge broke the protocol: the stream ends."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.goodbye = Goodbye(code, detail)


class IngestService(stream_pb2_grpc.IngestServiceServicer):  # type: ignore[misc]
    """IngestService of stream.proto."""

    def __init__(
        self,
        registry: Registry,
        pipeline: Pipeline,
        store: Store,
        links: Links,
        layers: Layers,
        metrics: Metrics,
        window: int,
        edge_rate: int = 0,
        references: bytes = b"",
    ) -> None:
        self._registry = registry
        self._pipeline = pipeline
        self._store = store
        self._links = links
        self._layers = layers
        self._window = window
        self._edge_rate = edge_rate
        self._references = references
        self._received_bytes = metrics.link_bytes.labels("in")
        self._sent_bytes = metrics.link_bytes.labels("out")
        self._base_bytes = metrics.feature_bytes.labels("base")
        self._shadow_bytes = metrics.feature_bytes.labels("shadow")
        self._enhancement_bytes = metrics.feature_bytes.labels("enhancement")
        self._bad_containers = metrics.decode_errors.labels("container")
        self._readers: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def Ingest(self, _: Any, context: Any) -> None:  # noqa: N802 - the name in the .proto
        """One stream, from Hello to the last ack."""
        try:
            link = await self._open(context)
        except ProtocolError as e:
            log.warning("stream refused", peer=context.peer(), reason=str(e))
            await context.abort(e.goodbye.code, e.goodbye.detail)
        reader = asyncio.create_task(self._read(link, context), name=f"read {link.edge}")
        self._readers.add(reader)
        try:
            await self._write(link, context)
        finally:
            log.info("edge disconnected", link=repr(link))
            self._links.remove(link)
            self._readers.discard(reader)
            reader.cancel()

    async def drain(self) -> None:
        """Read nothing more; end each stream when everything read from it is acked."""
        self._stopping = True
        for reader in self._readers:
            reader.cancel()
        if self._readers:
            await asyncio.wait(self._readers)
        self._links.finish(grpc.StatusCode.UNAVAILABLE, "the cloud is stopping; try again soon")
        await self._pipeline.drain()

    # ---- reading

    async def _open(self, context: Any) -> Link:
        if self._stopping:
            raise ProtocolError(grpc.StatusCode.UNAVAILABLE, "the cloud is stopping; try again soon")
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                request = await context.read()
        except TimeoutError:
            raise ProtocolError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no Hello within {HELLO_SECONDS:g} s") from None
        hello = _checked_hello(request)
        link = Link(hello.edge_id, hello.epoch, together=hello.acks_together)
        link.say(self._welcome())
        if self._edge_rate:
            link.say(wire.IngestResponse(rate_hint=wire.RateHint(bytes_per_second=self._edge_rate)))
        self._links.add(link)  # before the database is asked: from here on it hears of what is stored
        try:
            link.stored(await self._store.stored_up_to(link.edge, link.epoch))
        except BaseException:
            self._links.remove(link)
            raise
        log.info("edge connected", edge=link.edge, epoch=link.epoch, software=hello.software[:64], peer=context.peer())
        return link

    def _welcome(self) -> wire.IngestResponse:
        digest = self._registry.current.digest
        return wire.IngestResponse(
            welcome=wire.Welcome(
                bundle_digest=digest,
                window=self._window,
                max_payload_bytes=MAX_PAYLOAD_BYTES,
                references=self._references,
            )
        )

    async def _read(self, link: Link, context: Any) -> None:
        try:
            while not link.finished and (request := await context.read()) is not grpc.aio.EOF:
                await self._take(link, request)
            if not link.finished:
                link.finish(grpc.StatusCode.OK, "")
        except ProtocolError as e:
            log.warning("stream ended", edge=link.edge, reason=str(e))
            link.say(e.goodbye)
        except Exception as e:
            if isinstance(e, grpc.aio.AbortError) or self._links.get(link.edge) is not link:
                # It was replaced or thrown out while it was being read: who did that has said so already.
                log.info("stream is over", link=repr(link), reason=type(e).__name__)
                return
            log.exception("reading failed", edge=link.edge)
            link.say(Goodbye(grpc.StatusCode.INTERNAL, "the cloud failed to read; try again"))

    async def _take(self, link: Link, request: Any) -> None:
        kind = request.WhichOneof("message")
        if kind == "packet":
            await self._take_packet(link, request.packet)
        elif kind == "layer_reply":
            self._received_bytes.inc(len(request.layer_reply.payload))
            self._layers.replied(link, request.layer_reply)
        else:
            raise ProtocolError(grpc.StatusCode.INVALID_ARGUMENT, f"after Hello come packets and replies, not {kind}")

    async def _take_packet(self, link: Link, packet: Any) -> None:
        if len(link.in_flight) >= self._window:
            raise _overrun(f"more than {self._window} packets in flight")
        if link.unsaid > _UNREAD_MAX:
            raise _overrun(f"more than {_UNREAD_MAX} messages left unread")
        self._received_bytes.inc(len(packet.payload))
        waiting = Waiting(packet.want_result)
        try:
            frame = frame_of(packet, link.edge, link.epoch, time.time_ns() // 1000, self._registry, self._settle)
        except PacketError as e:
            return self._refuse(link, packet, e.refused)
        if self._pipeline.holds(frame.key):  # sent again while the first one is on its way: one ack will do
            link.in_flight[packet.seq] = waiting
        elif packet.seq <= link.stored_up_to and (stored := await self._stored(frame)):
            self._pipeline.count(frame.camera, "duplicate")
            link.answer(_ack(packet.seq, waiting, stored))
        else:
            self._observe(frame)
            await self._pipeline.submit(frame)
            link.in_flight[packet.seq] = waiting
        return None

    async def _stored(self, frame: Frame) -> Stored | None:
        """What is stored of a frame that is sent again; of a result that was deleted for its age, only that it was."""
        if record := await self._store.result_of(frame.key):
            found = [Detection(d["label"], d["score"], tuple(d["box"])) for d in record.found()]
            return Stored(found, duplicate=True)
        return Stored([], duplicate=True) if self._store.has_aged(frame) else None

    def _observe(self, frame: Frame) -> None:
        self._base_bytes.observe(frame.coded_bytes)
        for layer in frame.container.layers:
            if layer.kind != Kind.BASE:
                of_kind = self._shadow_bytes if layer.kind == SHADOW else self._enhancement_bytes
                of_kind.observe(len(layer.payload))

    def _refuse(self, link: Link, packet: Any, refused: Refused) -> None:
        known = NAME.match(packet.camera)
        self._pipeline.count(packet.camera if known else "other", refused.reason)
        if refused.reason is Reason.CORRUPT:
            self._bad_containers.inc()
        log.warning("packet refused", edge=link.edge, seq=packet.seq, reason=refused.reason, detail=refused.detail)
        link.answer(_nack(packet.seq, refused))
        if refused.reason is Reason.UNKNOWN_BUNDLE:  # frames behind it must not overtake it: it will be sent again
            link.finish(grpc.StatusCode.FAILED_PRECONDITION, refused.detail)

    # ---- writing

    async def _write(self, link: Link, context: Any) -> None:
        while True:
            message = await link.next()
            if isinstance(message, Goodbye):
                if message.code is not grpc.StatusCode.OK:
                    await context.abort(message.code, message.detail)
                return
            await context.write(message)
            self._sent_bytes.inc(message.ByteSize())

    def _settle(self, frame: Frame, verdict: Verdict) -> None:
        """Tell whichever stream the edge has now, if it has this packet in flight."""
        edge, epoch, seq = frame.key
        if isinstance(verdict, Refused):
            # What lacks its reference comes again: after a restart that is so of every camera, and nothing is wrong.
            tell = log.info if verdict.reason is Reason.MISSING_REFERENCE else log.warning
            tell("frame refused", edge=edge, seq=seq, frame=frame.id, reason=verdict.reason, detail=verdict.detail)
        link = self._links.get(edge)
        if link is None or link.epoch != epoch:
            return
        if isinstance(verdict, Stored):
            link.stored(seq)
        if (waiting := link.in_flight.get(seq)) is not None:
            link.settle(seq, _nack(seq, verdict) if isinstance(verdict, Refused) else _ack(seq, waiting, verdict))


def _checked_hello(request: Any) -> Any:
    if request is grpc.aio.EOF or request.WhichOneof("message") != "hello":
        raise ProtocolError(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be Hello")
    hello = request.hello
    if not NAME.match(hello.edge_id):
        raise _bad_hello("edge_id", "1 to 64 of A-Z a-z 0-9 . _ -", hello.edge_id)
    if not UUID.match(hello.epoch):
        raise _bad_hello("epoch", "a UUID in lower case", hello.epoch)
    return hello


def _bad_hello(field: str, expected: str, got: str) -> ProtocolError:
    return ProtocolError(grpc.StatusCode.INVALID_ARGUMENT, f"Hello.{field}: expected {expected}, got {got!r:.100}")


def _overrun(what: str) -> ProtocolError:
    return ProtocolError(grpc.StatusCode.RESOURCE_EXHAUSTED, what)


def _ack(seq: int, waiting: Waiting, stored: Stored) -> wire.Ack:
    ack = wire.Ack(seq=seq, duplicate=stored.duplicate, held_ms=waiting.held_ms)
    if waiting.want_result:
        ack.detections.extend(_message(d) for d in stored.detections)
    return ack


def _nack(seq: int, refused: Refused) -> wire.Nack:
    return wire.Nack(seq=seq, reason=_NACKS[refused.reason], detail=refused.detail)


def _message(d: Detection) -> wire.Detection:
    x1, y1, x2, y2 = d.box
    return wire.Detection(label=d.label, score=d.score, x1=x1, y1=y1, x2=x2, y2=y2)
