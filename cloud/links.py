"""The streams that are open, one per edge: what is in flight on each, and what is to be said on it."""

import asyncio
import time
from dataclasses import dataclass, field

import grpc
from prometheus_client import Gauge

from common.wire.stream_pb2 import Ack, Acks, IngestResponse, Nack

_TOGETHER = 32
"""Acks in one message, at most."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The last thing said on a stream."""

    code: grpc.StatusCode
    detail: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A packet in flight: whether its ack shall carry the detections, and when it was read from this stream."""

    want_result: bool
    read_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def held_ms(self) -> float:
        """How long it has been here. The monotonic clock's: setting the clock is no news of the link."""
        return (time.monotonic_ns() - self.read_ns) / 1e6


class Link:
    """One stream of one edge. `in_flight`: the seq of each packet not yet acked or nacked, and what its ack needs.
    `stored_up_to`: above this seq, a packet is surely new, once the database has been asked.
    """

    def __init__(self, edge: str, epoch: str, stored_up_to: int = -1, together: bool = False) -> None:
        """`together`: acks that wait to be said become one message."""
        self.edge = edge
        self.epoch = epoch
        self.stored_up_to = stored_up_to
        self.in_flight: dict[int, Waiting] = {}
        self.outbox: asyncio.Queue[IngestResponse | Goodbye] = asyncio.Queue()
        self.unsaid = 0
        """Messages and acks that wait to be said."""
        self._together = together
        self._acks: IngestResponse | None = None
        """The last thing to say, if it is acks which others may join."""
        self._last_words: Goodbye | None = None

    def __repr__(self) -> str:
        return f"<link {self.edge}/{self.epoch[:8]}: {len(self.in_flight)} in flight, {self.unsaid} to say>"

    def say(self, message: IngestResponse | Goodbye) -> None:
        """Send this after everything said before."""
        self._acks = None
        self.unsaid += 1
        self.outbox.put_nowait(message)

    def answer(self, answer: Ack | Nack) -> None:
        """Say it. Acks of a batch travel together: for both sides a message costs more than what is in it."""
        if isinstance(answer, Nack):
            self.say(IngestResponse(nack=answer))
        elif not self._together:
            self.say(IngestResponse(ack=answer))
        elif self._acks is None or len(self._acks.acks.acks) == _TOGETHER:
            message = IngestResponse(acks=Acks(acks=[answer]))
            self.say(message)
            self._acks = message
        else:
            self._acks.acks.acks.append(answer)
            self.unsaid += 1

    async def next(self) -> IngestResponse | Goodbye:
        """What is to be said next, when there is something."""
        message = await self.outbox.get()
        if message is self._acks:
            self._acks = None
        self.unsaid -= max(1, len(message.acks.acks)) if isinstance(message, IngestResponse) else 1
        return message

    def stored(self, seq: int) -> None:
        """A packet of the edge's epoch has its result, on whichever stream it came."""
        self.stored_up_to = max(self.stored_up_to, seq)

    def settle(self, seq: int, answer: Ack | Nack) -> None:
        """A packet has its ack or nack."""
        del self.in_flight[seq]
        self.answer(answer)
        self._maybe_leave()

    def finish(self, code: grpc.StatusCode, detail: str) -> None:
        """No packet will be read any more: end the stream after the last ack."""
        self._last_words = Goodbye(code, detail)
        self._maybe_leave()

    @property
    def finished(self) -> bool:
        """Whether no packet is read any more."""
        return self._last_words is not None

    def _maybe_leave(self) -> None:
        if self._last_words and not self.in_flight:
            self.say(self._last_words)


class Links:
    """The open link of each edge."""

    def __init__(self, gauge: Gauge) -> None:
        self._open: dict[str, Link] = {}
        self._gauge = gauge

    def __len__(self) -> int:
        return len(self._open)

    def get(self, edge: str) -> Link | None:
        """The link of an edge, if it is connected."""
        return self._open.get(edge)

    def add(self, link: Link) -> None:
        """A newer stream of an edge replaces the older: the edge gave that one up, or will when it hears of it."""
        older = self._open.get(link.edge)
        if older:
            older.say(Goodbye(grpc.StatusCode.ABORTED, f"a newer stream of edge {link.edge} replaces this one"))
        self._open[link.edge] = link
        self._gauge.set(len(self._open))

    def remove(self, link: Link) -> None:
        """The stream has ended."""
        if self._open.get(link.edge) is link:
            del self._open[link.edge]
        self._gauge.set(len(self._open))

    def finish(self, code: grpc.StatusCode, detail: str) -> None:
        """Let every stream end after its last ack."""
        for link in list(self._open.values()):
            link.finish(code, detail)
