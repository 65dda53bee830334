"""Builds the parts, hands them to each other, starts and stops them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Lifespan

from common.bundle import Bundle
from common.errors import FrameError, MidstreamError
from common.telemetry import Metrics, setup_logging
from edge import api, status
from edge.body import Lingering
from edge.bundles import Bundles, Cache
from edge.encode import Encoder, OperatingPoints
from edge.intake import Intake, NotNowError
from edge.link import backoff, open_channel
from edge.meter import Meter
from edge.parts import Parts
from edge.problems import MEDIA_TYPE, problem
from edge.server import bind, new_event_loop, serve
from edge.settings import Settings
from edge.spool import Limits, Spool, SpoolError
from edge.uplink import Uplink

log = structlog.get_logger(__name__)


def software() -> str:
    """The version that is installed."""
    try:
        return version("midstream")
    except PackageNotFoundError:
        return "0"


def build(settings: Settings) -> FastAPI:
    """An ASGI application; its lifespan starts and stops the parts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings) as app.state.parts:
            yield

    return application(lifespan)


def application(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The HTTP side; it finds the parts in `app.state.parts`."""
    app = FastAPI(
        title="Midstream edge",
        version=software(),
        lifespan=lifespan,
        description="Takes pictures, sends coded features to the cloud. Errors are application/problem+json.",
    )
    app.include_router(api.router, tags=["frames"])
    app.include_router(status.router, tags=["status"])
    app.add_exception_handler(MidstreamError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)
    return app


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises MidstreamError if the edge cannot start."""
    settings.require_source()
    setup_logging("edge", settings.log_level)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    async with running(settings) as parts:
        app = application()
        app.state.parts = parts
        listener = bind(settings.http_host, settings.http_port)
        log.info("edge starts", edge_id=settings.edge_id, cloud=settings.cloud, spool=repr(parts.spool))
        await serve(app, listener, settings.data_dir / "http.port", lambda: drain(parts))
    log.info("edge stopped")


async def drain(parts: Parts) -> None:
    """Take no more frames, finish those begun, and send what the time allows; the rest waits on disk."""
    log.info("draining", queued=parts.spool.stats.queued, being_coded=parts.intake.frames)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(parts.settings.drain_seconds):
            await parts.intake.drain()
            if parts.uplink is not None:
                await parts.uplink.drained()
    parts.intake.draining = True
    log.info("drained", left_in_spool=parts.spool.stats.queued)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Parts]:
    """The parts, started; stopped again in the reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        meter = Meter(Metrics("edge", software()), settings.max_cameras)
        spool = Spool(settings.data_dir, limits_of(settings))
        stack.push_async_callback(spool.close)
        spool.on_ended = meter.ended
        points = OperatingPoints(settings.quality, settings.max_cameras)
        intake = Intake(settings, spool, points, meter)
        stack.callback(intake.close)
        channel = open_channel(settings.cloud) if settings.cloud else None
        if channel is not None:
            stack.push_async_callback(channel.close)

        async def install(bundle: Bundle) -> None:
            intake.encoder = await asyncio.to_thread(Encoder, bundle, settings.ort_threads, settings.max_pixels)

        bundles = Bundles(Cache(settings.data_dir / "bundles"), channel, install)
        if settings.bundle is not None:
            await bundles.pin(settings.bundle)
        uplink = Uplink(channel, spool, settings.edge_id, f"midstream/{software()}", meter) if channel else None
        await stack.enter_async_context(_kept_alive("bundles", bundles.follow))
        if uplink is not None:
            uplink.on_bundle = bundles.heard
            await stack.enter_async_context(_kept_alive("uplink", uplink.run))
        yield Parts(settings, meter, points, spool, intake, bundles, uplink)


def limits_of(s: Settings) -> Limits:
    """The spool's part of the settings."""
    return Limits(s.spool_max_bytes, s.spool_max_age_s, s.ring_max_bytes, s.ring_max_age_s, s.ledger_max_rows)


@contextlib.asynccontextmanager
async def _kept_alive(name: str, run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """A task that runs while the context is open, and begins again, loudly, if a mistake of ours ends it."""

    async def again() -> None:
        for delay in backoff(1.0, 30.0):
            try:
                await run()
            except Exception:
                log.exception("a task failed and begins again", task=name)
                await asyncio.sleep(delay)
            else:
                return

    task = asyncio.create_task(again(), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _refused(request: Request, error: Exception) -> Response:
    """MidstreamError: a refusal with a status of its own, or a part that cannot be used now."""
    if isinstance(error, NotNowError):
        return problem(error.status, str(error), error.kind, {"Retry-After": str(error.retry_after)})
    if isinstance(error, FrameError):
        answer = problem(error.status, str(error))
        if error.status not in (408, 413):
            return answer
        return Lingering(answer.body, error.status, media_type=MEDIA_TYPE)
    if isinstance(error, SpoolError):
        return problem(503, str(error), headers={"Retry-After": "5"})
    raise error


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
    return problem(error.status_code, detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": "/".join(map(str, e["loc"])), "detail": e["msg"]} for e in error.errors()]
    return problem(422, "; ".join(f"{e['at']}: {e['detail']}" for e in errors), errors=errors)


async def _broken(request: Request, error: Exception) -> Response:
    return problem(500, "the edge made a mistake; its log says which")
