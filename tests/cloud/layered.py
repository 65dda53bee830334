"""Frames of a bundle with picture layers (tests/scalable/tiny.py), and an edge that is asked for them."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.offers import codec_id
from common.bundle import Bundle
from common.codec import Container, Layer, pack
from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running
from tests.cloud.speaker import Edge, packet
from tests.scalable import coded
from tests.scalable.coded import Coded

CONTAINER = "application/vnd.midstream.container"


def frame(bundle: Bundle, seed: int = 0) -> Coded:
    return coded.frame(bundle, 96, 64, seed)


def sealed(held: Bundle, frame: Coded, layers: Sequence[Layer], **fields: Any) -> bytes:
    width, height = frame.size
    values = {
        "bundle": held.prefix,
        "codec": codec_id(held),
        "quality": 320,
        "width": width,
        "height": height,
        "layers": list(layers),
    }
    return pack(Container(**(values | fields)))


async def stored(cloud: Running, edge: Edge, payload: bytes, seq: int = 1, camera: str = "door") -> str:
    """A frame that was stored, as the path of its resources."""
    sent = packet(seq, payload, camera)
    (ack,) = await edge.deliver(sent)
    assert isinstance(ack, wire.Ack), ack
    return f"/v1/frames/{sent.frame_id}"


async def asked(edge: Edge) -> Any:
    message = await edge.hear()
    assert message.WhichOneof("message") == "layer_request", message
    return message.layer_request


async def reply(edge: Edge, request: Any, payload: bytes = b"", **fields: Any) -> None:
    values = {"status": wire.LAYER_STATUS_OK, "content_type": CONTAINER, "payload": payload} | fields
    await edge.say(layer_reply=wire.LayerReply(request_id=request.request_id, **values))


async def settled(cloud: Running, path: str) -> httpx.Response:
    """The first answer that is not 202."""
    async with asyncio.timeout(20):
        while (answer := await cloud.http.get(path)).status_code == 202:
            assert int(answer.headers["retry-after"]) >= 1
            await asyncio.sleep(0.02)
    return answer


def pixels(answer: httpx.Response) -> NDArray[np.uint8]:
    """As RGB, or the indices of a palette."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))
