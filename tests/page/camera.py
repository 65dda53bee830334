"""An edge with cameras, seen from the wire: sends coded frames of known content, gives pictures when asked."""

import io
import queue
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
from PIL import Image

from common.bundle import Bundle
from common.codec import Container, pack
from common.ids import uuid7
from common.payload import DetectionList
from common.types import Detection
from common.wire import CHANNEL_OPTIONS
from common.wire import stream_pb2 as wire
from common.wire.stream_pb2_grpc import IngestServiceStub
from tests.cloud import tiny

SIZE = 320
SOURCE_BYTES = 50_000


def jpeg() -> bytes:
    """The picture every camera took."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (20, 140, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


class Edge:
    """One stream. A context manager; `send` returns when the cloud has stored the frames."""

    def __init__(self, port: int, bundle: Bundle, edge_id: str = "edge-1") -> None:
        self._bundle = bundle
        self._edge_id = edge_id
        self._seq = 0
        self._mouth: queue.Queue[wire.IngestRequest | None] = queue.Queue()
        self._settled: queue.Queue[Any] = queue.Queue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        self.keeps_pictures = True
        self.layers: dict[str, bytes | Callable[[Any], bytes]] = {}
        """What it answers when it is asked for these layers, as containers, or how it makes them of the request."""
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._mouth.put(
            wire.IngestRequest(hello=wire.Hello(edge_id=self._edge_id, epoch=str(uuid.uuid4()), software="test"))
        )
        self._call = IngestServiceStub(self._channel).Ingest(iter(self._mouth.get, None))
        self._window = next(self._call).welcome.window
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mouth.put(None)
        self._call.cancel()
        self._ear.join(10)
        self._channel.close()

    def send(self, camera: str, *frames: dict[tuple[int, int, int], float]) -> None:
        """Frames by their {(label, row, column): score}, as in tests.cloud.tiny; returns when all are acked."""
        waiting = 0
        for cells in frames:
            if waiting == self._window:
                self._take_ack()
                waiting -= 1
            payload = tiny.payload(self._bundle, cells, SIZE)
            self._mouth.put(wire.IngestRequest(packet=self._packet(camera, payload)))
            waiting += 1
        for _ in range(waiting):
            self._take_ack()

    def send_coded(self, camera: str, payload: bytes) -> None:
        """A frame that somebody else coded."""
        packet = self._packet(camera, payload)
        self._mouth.put(wire.IngestRequest(packet=packet))
        self._take_ack()

    def send_detections(self, camera: str, label: str) -> None:
        """A frame whose network ran at the edge, and found this in the middle."""
        found = [Detection(label, 0.9, (80.0, 80.0, 240.0, 240.0))]
        layers = DetectionList(tiny.LABELS, 10).encode(found, SIZE, SIZE)
        packet = self._packet(camera, pack(Container(self._bundle.prefix, DetectionList.id, 0, SIZE, SIZE, layers)))
        packet.edge_ms.update({"back": 7.0, "nms": 1.0})
        self._mouth.put(wire.IngestRequest(packet=packet))
        self._take_ack()

    def _take_ack(self) -> None:
        answer = self._settled.get(timeout=20)
        assert answer == "ack", answer

    def _packet(self, camera: str, payload: bytes) -> wire.Packet:
        self._seq += 1
        now = time.time_ns() // 1000
        return wire.Packet(
            seq=self._seq,
            frame_id=uuid7(),
            camera=camera,
            captured_unix_us=now - 30_000,
            accepted_unix_us=now - 20_000,
            sent_unix_us=now,
            source_bytes=SOURCE_BYTES,
            edge_ms={"decode_picture": 2.0, "front": 12.0, "code": 0.5, "spool": 3.0},
            payload=payload,
        )

    def _listen(self) -> None:
        try:
            for message in self._call:
                if message.WhichOneof("message") == "layer_request":
                    self._mouth.put(wire.IngestRequest(layer_reply=self._reply(message.layer_request)))
                else:
                    self._settled.put(message.WhichOneof("message"))
        except grpc.RpcError:
            return  # cancelled, or the cloud went away

    def _reply(self, request: Any) -> Any:
        self.asked.append(request.frame_id)
        if not self.keeps_pictures:
            return wire.LayerReply(
                request_id=request.request_id, status=wire.LAYER_STATUS_GONE, detail="the ring has gone round"
            )
        if request.layer in self.layers:
            content_type, held = "application/vnd.midstream.container", self.layers[request.layer]
            payload = held(request) if callable(held) else held
        else:
            content_type, payload = "image/jpeg", jpeg()
        return wire.LayerReply(
            request_id=request.request_id, status=wire.LAYER_STATUS_OK, content_type=content_type, payload=payload
        )
