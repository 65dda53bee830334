"""The picture in a request: its declared size judged first, then read with a bound and a deadline."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from common.errors import FrameError
from edge.settings import ENVELOPE_BYTES

BODY_SECONDS = 30.0
FIELD = "image"
PIXELS = "pixels"
SMALL_BYTES = 64 << 10
"""Of a body that is no picture."""

_RAW = (b"", b"application/octet-stream", b"application/x-www-form-urlencoded")
"""Types that say nothing: the bytes do. The last is what `curl --data-binary` says unless it is told otherwise."""

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Body:
    """What was sent: the picture's bytes, and the form field `pixels` if there was one."""

    picture: bytes
    pixels: str | None = None


def bounded(scope: Scope, receive: Receive) -> Receive:
    """The same body, but reading more than SMALL_BYTES of it raises HTTPException 413, once: the answer reads on."""
    left, told = SMALL_BYTES, False

    async def receive_some() -> Message:
        nonlocal left, told
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0 and not told:
            told = True
            raise HTTPException(413, f"the body is larger than {SMALL_BYTES} bytes")
        return message

    return receive_some if scope["type"] == "http" else receive


def _form(headers: Headers, limit: int) -> tuple[bool, int]:
    """Whether the body is multipart, and how long it may be for a picture of `limit` bytes. Raises FrameError 415."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    multipart = kind == b"multipart/form-data"
    if not (multipart or kind.startswith(b"image/") or kind in _RAW):
        raise FrameError(
            415,
            f"Content-Type {kind.decode('latin-1')!r}: send image/jpeg, image/png or image/webp, "
            f"or multipart/form-data with the field {FIELD!r}",
        )
    return multipart, limit + ENVELOPE_BYTES if multipart else limit


def declared_size(headers: Headers, limit: int) -> int:
    """Bytes the body will have at most. Raises FrameError 413, or 415 for what cannot hold a picture."""
    _, limit = _form(headers, limit)
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return limit
    if int(length) > limit:
        raise _too_large(limit)
    return int(length)


async def read_body(scope: Scope, receive: Receive, headers: Headers, limit: int) -> Body:
    """The picture and what came with it. Raises FrameError 400, 408, 413, 415 or 422."""
    multipart, longest = _form(headers, limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            read = await _read(receive, longest)
    except TimeoutError:
        raise FrameError(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    body = await _fields(scope, read) if multipart else Body(read)
    if len(body.picture) > limit:
        raise _too_large(limit)
    if not body.picture:
        raise FrameError(422, "the body is empty; it must be a picture")
    return body


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise FrameError(400, "the connection ended inside the body")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


async def _fields(scope: Scope, body: bytes) -> Body:
    """The fields of a multipart body that was read already, hence bounded."""

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(scope, replay).form(max_files=1, max_fields=16) as form:
            image, pixels = form.get(FIELD), form.get(PIXELS)
            if not isinstance(image, UploadFile):
                raise FrameError(422, f"the multipart body has no file field {FIELD!r}")
            return Body(await image.read(), pixels if isinstance(pixels, str) else None)
    except (HTTPException, MultipartParseError, ValueError) as e:
        raise FrameError(422, f"the multipart body cannot be read: {getattr(e, 'detail', e)}") from e


def _too_large(limit: int) -> FrameError:
    return FrameError(413, f"the picture is larger than {limit} bytes; scale it down or compress it more")
