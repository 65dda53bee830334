"""The picture in a request: its declared size judged first, then read with a bound and a deadline."""

import asyncio

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from common.errors import FrameError

BODY_SECONDS = 30.0
FIELD = "image"
_ENVELOPE_BYTES = 64 << 10
"""What multipart may add around a picture: boundaries, headers, other fields."""
_LINGER_BYTES, _LINGER_SECONDS = 1 << 20, 1.0


def declared_size(request: Request, limit: int) -> int:
    """Bytes the body will have at most. Raises FrameError 413, or 415 for what cannot hold a picture."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/octet-stream", "multipart/form-data") and not kind.startswith("image/"):
        raise FrameError(
            415,
            f"Content-Type {kind!r}: send image/jpeg, image/png or image/webp, or multipart/form-data with {FIELD!r}",
        )
    limit += _ENVELOPE_BYTES if kind == "multipart/form-data" else 0
    length = request.headers.get("content-length")
    if length is None or not length.isdigit():
        return limit
    if int(length) > limit:
        raise _too_large(limit)
    return int(length)


async def read_picture(request: Request, limit: int) -> bytes:
    """The picture's bytes. Raises FrameError 400, 408, 413 or 422."""
    multipart = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(request, limit + (_ENVELOPE_BYTES if multipart else 0))
    except TimeoutError:
        raise FrameError(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise FrameError(400, "the connection ended inside the body") from None
    if multipart:
        body = await _field(request, body)
        if len(body) > limit:
            raise _too_large(limit)
    if not body:
        raise FrameError(422, "the body is empty; it must be a picture")
    return body


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


async def _field(request: Request, body: bytes) -> bytes:
    """The field of a multipart body that was read already, hence bounded."""

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, replay).form(max_files=1, max_fields=16) as form:
            image = form.get(FIELD)
            if not isinstance(image, UploadFile):
                raise FrameError(422, f"the multipart body has no file field {FIELD!r}")
            return await image.read()
    except (HTTPException, MultipartParseError, ValueError) as e:
        raise FrameError(422, f"the multipart body cannot be read: {getattr(e, 'detail', e)}") from e


def _too_large(limit: int) -> FrameError:
    return FrameError(413, f"the picture is larger than {limit} bytes; scale it down or compress it more")


class Lingering(Response):
    """An answer sent before the request was read. It closes the connection, but only after reading on a little:
    a client that is still writing when the connection breaks would lose the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, linger, close."""
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                await _discard(receive)
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    left = _LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return
        left -= len(message.get("body", b""))
