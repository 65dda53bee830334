"""A cloud made of plain data: it speaks the wire, stores what comes in a list, and answers by a table."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from common import bundle as bundles
from common.bundle import Bundle
from common.wire import SERVER_OPTIONS
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc

Answer = pb.IngestResponse | None
Verdict = Callable[[pb.Packet], Answer]


def ack(packet: pb.Packet) -> pb.IngestResponse:
    found = [pb.Detection(label="person", score=0.5, x1=1, y1=2, x2=30, y2=40)] if packet.want_result else []
    return pb.IngestResponse(ack=pb.Ack(seq=packet.seq, detections=found))


def nack(packet: pb.Packet, reason: pb.NackReason, detail: str = "") -> pb.IngestResponse:
    return pb.IngestResponse(nack=pb.Nack(seq=packet.seq, reason=reason, detail=detail))


def silent(packet: pb.Packet) -> Answer:
    return None


@dataclass
class Peer(rpc.IngestServiceServicer, rpc.BundleServiceServicer):
    """`verdict` answers packets; everything received is in `hellos`, `packets` and `replies`."""

    folder: Path | None = None
    """The bundle to serve."""
    more: list[Path] = field(default_factory=list)
    """Those that go by their names beside it."""
    verdict: Verdict = ack
    window: int = 8
    max_payload: int = 1 << 20
    hellos: list[pb.Hello] = field(default_factory=list)
    packets: list[pb.Packet] = field(default_factory=list)
    replies: list[pb.LayerReply] = field(default_factory=list)
    down: "asyncio.Queue[pb.IngestResponse] | None" = None
    """What to send down the newest stream."""
    files_served: int = 0
    spoil: Callable[[bytes], bytes] = bytes
    """Applied to every file served."""
    piece: int = 1 << 16
    """Bytes of a file that are sent at once, and the seconds before each."""
    pause: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, no file is served until it is set."""
    port: int = 0
    server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bundle(self) -> Bundle | None:
        return bundles.load(self.folder, "edge") if self.folder else None

    def folders(self) -> list[Path]:
        return [*self.more, *([self.folder] if self.folder else [])]

    def named(self) -> dict[str, Bundle]:
        loaded = [bundles.load(folder, "edge") for folder in self.folders()]
        return {bundle.manifest.name: bundle for bundle in loaded}

    async def start(self) -> "Peer":
        """Listen: on a free port the first time, on the same one afterwards."""
        self.gate.set()
        self.server = grpc.aio.server(options=SERVER_OPTIONS)
        rpc.add_IngestServiceServicer_to_server(self, self.server)
        rpc.add_BundleServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()
        return self

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)
            self.server = None

    async def Ingest(
        self, requests: AsyncIterator[pb.IngestRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.IngestResponse]:
        self.down = down = asyncio.Queue()
        reading = asyncio.create_task(self._read(requests, down))
        try:
            while (message := await down.get()).WhichOneof("message"):
                yield message
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.IngestRequest], down: "asyncio.Queue[pb.IngestResponse]") -> None:
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "hello":
                self.hellos.append(request.hello)
                digest = bundle.digest if (bundle := self.bundle) else "0" * 64
                welcome = pb.Welcome(bundle_digest=digest, window=self.window, max_payload_bytes=self.max_payload)
                down.put_nowait(pb.IngestResponse(welcome=welcome))
            elif kind == "packet":
                self.packets.append(request.packet)
                if answer := self.verdict(request.packet):
                    down.put_nowait(answer)
                    if answer.nack.reason == pb.NACK_REASON_UNKNOWN_BUNDLE:
                        return  # what is behind it must not overtake it
            elif kind == "layer_reply":
                self.replies.append(request.layer_reply)

    def say(self, message: pb.IngestResponse) -> None:
        assert self.down is not None
        self.down.put_nowait(message)

    def hang_up(self) -> None:
        self.say(pb.IngestResponse())

    async def GetCurrentBundle(
        self, request: pb.GetCurrentBundleRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetCurrentBundleResponse:
        bundle = self.named().get(request.name) if request.name else self.bundle
        if bundle is None:
            there = ", ".join(sorted(self.named()))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no bundle {request.name!r} here; there are {there}")
        manifest = (bundle.path / bundles.MANIFEST).read_bytes()
        return pb.GetCurrentBundleResponse(digest=bundle.digest, manifest=manifest)

    async def ListBundles(
        self, request: pb.ListBundlesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListBundlesResponse:
        named = self.named().items()
        return pb.ListBundlesResponse(bundles=[pb.BundleName(name=name, digest=b.digest) for name, b in named])

    async def FetchFile(
        self, request: pb.FetchFileRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.FetchFileResponse]:
        folders = [folder for folder in self.folders() if folder.name == request.digest]
        if not folders:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such bundle")
        await self.gate.wait()
        self.files_served += 1
        content = self.spoil((folders[0] / request.name).read_bytes())
        for i in range(0, len(content), self.piece):
            await asyncio.sleep(self.pause)
            yield pb.FetchFileResponse(chunk=content[i : i + self.piece])


async def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
