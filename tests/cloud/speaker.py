"""The other end of the stream, made of plain data: says what it is told to say, gives what it hears."""

import asyncio
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from common.ids import uuid7
from common.wire import CHANNEL_OPTIONS
from common.wire import stream_pb2 as wire
from common.wire.stream_pb2_grpc import IngestServiceStub

PATIENCE = 20.0


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that will be so soon."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


def packet(seq: int, payload: bytes, camera: str = "door", **fields: Any) -> wire.Packet:
    """A packet captured now."""
    now = time.time_ns() // 1000
    fields = {
        "frame_id": uuid7(),
        "captured_unix_us": now - 3000,
        "accepted_unix_us": now - 2000,
        "sent_unix_us": now,
        "source_bytes": 50_000,
        "edge_ms": {"front": 3.5, "code": 0.5},
        **fields,
    }
    return wire.Packet(seq=seq, camera=camera, payload=payload, **fields)


class Edge:
    """One stream. `async with` opens it with Hello and Welcome."""

    def __init__(self, port: int, edge_id: str = "edge-1", epoch: str | None = None) -> None:
        self.edge_id = edge_id
        self.epoch = epoch or str(uuid.uuid4())
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        self.call = IngestServiceStub(self._channel).Ingest()
        self.welcome: Any = None

    async def __aenter__(self) -> Self:
        await self.say(hello=wire.Hello(edge_id=self.edge_id, epoch=self.epoch, software="test"))
        self.welcome = (await self.hear()).welcome
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.call.cancel()
        await self._channel.close()

    async def say(self, **message: Any) -> None:
        await self.call.write(wire.IngestRequest(**message))

    async def hear(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self.call.read()

    async def send(self, *packets: wire.Packet) -> None:
        for one in packets:
            await self.say(packet=one)

    async def answers(self, count: int) -> list[Any]:
        """The next acks and nacks."""
        said = []
        for _ in range(count):
            message = await self.hear()
            assert message is not grpc.aio.EOF, "the stream ended early"
            said.append(getattr(message, message.WhichOneof("message")))
        return said

    async def deliver(self, *packets: wire.Packet) -> list[Any]:
        """Send, within the window, and wait for all answers."""
        said: list[Any] = []
        window = self.welcome.window
        for start in range(0, len(packets), window):
            part = packets[start : start + window]
            await self.send(*part)
            said += await self.answers(len(part))
        return said

    async def end(self) -> grpc.StatusCode:
        """How the stream ended. It does not end while answers are unread."""
        async with asyncio.timeout(PATIENCE):
            code: grpc.StatusCode = await self.call.code()
        return code

    async def leave(self) -> grpc.StatusCode:
        """Say no more, hear what is still said, and tell how it ended."""
        await self.call.done_writing()
        while await self.hear() is not grpc.aio.EOF:
            pass
        return await self.end()
