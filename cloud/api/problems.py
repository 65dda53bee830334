"""What the cloud says over HTTP when something goes wrong: which error is which problem."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cloud.store import StoreError
from common import problems

log = structlog.get_logger()

_RETRY_SECONDS = 5

# What the framework raises by itself, by status.
_KNOWN = {
    404: ("not-found", "There is nothing at this path; /docs lists what there is."),
    405: ("method-not-allowed", "This path does not take this method; the Allow header says which it takes."),
}


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """An answer that is not what was asked for. `name` is the stable end of its type."""

    def __init__(
        self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = headers
        self.more = more


def not_found(what: str) -> Problem:
    """404 for a thing that a path names."""
    return Problem(404, "not-found", what)


def invalid(name: str, message: str) -> Problem:
    """422 for one parameter, in the shape of the framework's own validation."""
    return Problem(422, "invalid-request", f"{name}: {message}", errors=[{"loc": ["query", name], "msg": message}])


def unavailable(name: str, detail: str, retry_after: int) -> Problem:
    """503: try again."""
    return Problem(503, name, detail, headers={"Retry-After": str(retry_after)})


def install(app: FastAPI) -> None:
    """Turn everything that goes wrong in `app` into a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StoreError, _no_database)
    app.add_exception_handler(Exception, _bug)


def _answer(problem: Problem) -> JSONResponse:
    content = problems.body(problem.status, problem.name, problem.detail, **problem.more)
    return JSONResponse(content, problem.status, headers=problem.headers, media_type=problems.MEDIA_TYPE)


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return _answer(error)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    name, detail = _KNOWN.get(error.status_code, ("http-error", str(error.detail)))
    return _answer(Problem(error.status_code, name, detail, headers=error.headers))


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors: Sequence[Any] = error.errors()
    said = "; ".join(f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in errors)
    shown = [{"loc": e["loc"], "msg": e["msg"]} for e in errors]
    return _answer(Problem(422, "invalid-request", said, errors=jsonable_encoder(shown)))


async def _no_database(_: Request, error: Exception) -> JSONResponse:
    log.warning("a request failed for the database", reason=str(error))
    detail = "The database does not do what it is asked; the cloud's log says why. Try again."
    return _answer(unavailable("database-unavailable", detail, _RETRY_SECONDS))


async def _bug(_: Request, error: Exception) -> JSONResponse:
    # The traceback goes to the log (the server re-raises it there), never to the client.
    detail = f"This is a bug ({type(error).__name__}); the cloud's log has the traceback."
    return _answer(Problem(500, "internal", detail))
