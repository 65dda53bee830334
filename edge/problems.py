"""What the edge says over HTTP when something goes wrong: which error is which problem."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from common import problems
from common.errors import BundleError, FrameError, MidstreamError
from edge.intake import NotNowError
from edge.spool import SpoolError

_BY_STATUS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    408: "too-slow",
    409: "conflict",
    413: "too-large",
    415: "unsupported-media-type",
    422: "unprocessable",
    429: "busy",
    500: "internal",
    501: "not-installed",
    502: "refused-by-cloud",
    503: "unavailable",
}
_LINGER_BYTES, _LINGER_SECONDS = 16 << 20, 3.0


def problem(
    status: int, detail: str, kind: str | None = None, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """The answer for one problem. `kind` is the stable name in `type`; `detail` says what would help."""
    name = kind or _BY_STATUS.get(status, "error")
    make = Lingering if status in (408, 413) else Response
    return make(json.dumps(problems.body(status, name, detail, **members)), status, headers, problems.MEDIA_TYPE)


def refusal(error: MidstreamError) -> Response:
    """The answer for an error raised on purpose. One that is no answer to a request is raised again."""
    if isinstance(error, NotNowError):
        return problem(error.status, str(error), error.kind, {"Retry-After": str(error.retry_after)})
    if isinstance(error, FrameError):
        return problem(error.status, str(error))
    if isinstance(error, SpoolError):
        return problem(503, str(error), headers={"Retry-After": "5"})
    if isinstance(error, BundleError):
        detail = (
            f"the bundle does not work in this mode: {error}; choose another mode, or give the cloud another bundle"
        )
        return problem(503, detail, "bundle-broken", {"Retry-After": "5"})
    raise error


def mistake() -> Response:
    """The answer for an error nobody thought of."""
    return problem(500, "the edge made a mistake; its log says which")


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


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, MidstreamError)
        return refusal(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        return problem(error.status_code, detail, headers=error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [{"at": "/".join(map(str, e["loc"])), "detail": e["msg"]} for e in error.errors()]
        return problem(422, "; ".join(f"{e['at']}: {e['detail']}" for e in errors), errors=errors)

    async def broken(request: Request, error: Exception) -> Response:
        return mistake()

    app.add_exception_handler(MidstreamError, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, broken)
