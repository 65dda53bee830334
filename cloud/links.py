"""The streams that are open, one per edge: what is in flight on each, and what is to be said on it."""

import asyncio
import time
from dataclasses import dataclass, field

import grpc
from prometheus_client import Gauge

from common.wire.stream_pb2 import IngestResponse


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
    `stored_up_to`: above this seq, a packet is surely new.
    """

    def __init__(self, edge: str, epoch: str, stored_up_to: int) -> None:
        self.edge = edge
        self.epoch = epoch
        self.stored_up_to = stored_up_to
        self.in_flight: dict[int, Waiting] = {}
        self.outbox: asyncio.Queue[IngestResponse | Goodbye] = asyncio.Queue()
        self._last_words: Goodbye | None = None

    def __repr__(self) -> str:
        return f"<link {self.edge}/{self.epoch[:8]}: {len(self.in_flight)} in flight, {self.outbox.qsize()} to say>"

    def say(self, message: IngestResponse | Goodbye) -> None:
        """Send this after everything said before."""
        self.outbox.put_nowait(message)

    def settle(self, seq: int, message: IngestResponse) -> None:
        """A packet has its ack or nack."""
        del self.in_flight[seq]
        self.say(message)
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
