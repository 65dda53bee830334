"""Builds the parts, hands them to each other, starts and stops them."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc.aio
import structlog
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Lifespan, Receive, Scope, Send

from common import apidocs
from common.bundle import Bundle
from common.telemetry import Metrics, setup_logging
from common.types import Mode
from edge import api, choosing, status, streaming
from edge.ahead import Ahead
from edge.along import Along
from edge.anew import Anew
from edge.body import bounded
from edge.bundles import Bundles
from edge.codecs import Codecs
from edge.control import Control
from edge.encode import Encoder
from edge.enhance import Enhancer
from edge.fetch import Cache
from edge.intake import Intake
from edge.layers import Layers
from edge.link import backoff, open_channel
from edge.meter import Meter
from edge.parts import Parts
from edge.points import Choice, OperatingPoints, resolved
from edge.problems import install as install_problems
from edge.references import References
from edge.server import bind, new_event_loop, serve
from edge.settings import Settings, edge_id_of
from edge.spool import Limits, Spool
from edge.streams.streams import Streams
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


class _Application(FastAPI):
    """FastAPI with one way past it, for the request that comes for every frame."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == api.PATH and scope["method"] == "POST":
            scope["app"] = self
            await api.post_frame(scope, receive, send)
        else:
            await super().__call__(scope, bounded(scope, receive), send)

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["paths"].setdefault(api.PATH, {})["post"] = api.DOCS
        return document


def application(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The HTTP side; it finds the parts in `app.state.parts`."""
    app = _Application(
        title="Midstream edge",
        version=software(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="Takes pictures, sends coded features to the cloud. Errors are application/problem+json.",
    )
    # So that other methods are answered 405, and a client that asks first finds POST.
    app.router.routes.append(Route(api.PATH, api.post_frame, methods=["POST"], include_in_schema=False))
    app.include_router(api.router, tags=["frames"])
    app.include_router(choosing.router, tags=["operating point"])
    app.include_router(streaming.router, tags=["streams"])
    app.include_router(status.router, tags=["status"])
    install_problems(app)
    apidocs.install(app)
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
        # What is loaded now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        edge_id = edge_id_of(settings, parts.spool.epoch)
        log.info("edge starts", edge_id=edge_id, cloud=settings.cloud, spool=repr(parts.spool))
        await serve(app, listener, settings.data_dir / "http.port", lambda: drain(parts))
    log.info("edge stopped")


async def drain(parts: Parts) -> None:
    """Take no more frames, finish those begun, and send what the time allows; the rest waits on disk."""
    log.info("draining", queued=parts.spool.stats.queued, being_coded=parts.intake.frames)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(parts.settings.drain_seconds):
            await parts.streams.stop()
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
        default = Choice(settings.mode, settings.quality, settings.codec)
        points = OperatingPoints(default, settings.max_cameras, settings.data_dir / "operating-points.json")
        codecs = Codecs(points, partial(Encoder, threads=settings.ort_threads, max_pixels=settings.max_pixels))
        control = Control(points, meter, settings.encode_workers, settings.max_cameras, codecs.of)
        enhancer = Enhancer(settings.ort_threads, settings.max_pixels, meter)
        stack.callback(enhancer.close)
        layers, along = Layers(spool, enhancer), Along(enhancer, control, spool)
        intake = Intake(settings, spool, codecs, control, meter, along)
        stack.callback(intake.close)
        channel = open_channel(settings.cloud) if settings.cloud else None
        if channel is not None:
            stack.push_async_callback(channel.close)

        async def install(bundle: Bundle) -> None:
            await codecs.install(bundle)
            _warn(codecs, points, settings)

        cache = Cache(settings.data_dir / "bundles")
        bundles = Bundles(cache, channel, install, codecs, points.codecs)
        enhancer.find = bundles.known
        if settings.bundle is not None:
            await bundles.pin(settings.bundle)
        uplink = _uplink(channel, spool, settings, meter, layers, intake.references) if channel else None
        await stack.enter_async_context(_kept_alive("bundles", bundles.follow))
        if uplink is not None:
            uplink.on_bundle = bundles.heard
            anew = Anew(spool, bundles.known, codecs.load)
            uplink.anew = anew.coded
            intake.limited = uplink.limited
            along.link, along.max_payload = uplink.link, uplink.max_payload
            await stack.enter_async_context(_kept_alive("uplink", uplink.run))
            await stack.enter_async_context(_kept_alive("anew", partial(anew.ahead, uplink.link)))
            await stack.enter_async_context(_kept_alive("control", partial(control.run, uplink.link)))
            tidy = partial(bundles.tidy, spool.bundles)
            await stack.enter_async_context(_kept_alive("bundle cache", tidy))
        if settings.enhance == "idle":
            ahead = Ahead(spool, intake, enhancer, layers)
            await stack.enter_async_context(_kept_alive("ahead", ahead.run))
        streams = Streams(settings, intake, settings.data_dir / "streams.json")
        stack.push_async_callback(streams.stop)
        await streams.start()
        yield Parts(settings, meter, points, codecs, control, spool, intake, bundles, enhancer, streams, uplink)


def _uplink(
    channel: grpc.aio.Channel, spool: Spool, settings: Settings, meter: Meter, layers: Layers, references: References
) -> Uplink:
    edge_id, patience = edge_id_of(settings, spool.epoch), settings.unknown_bundle_seconds
    return Uplink(channel, spool, edge_id, f"midstream/{software()}", meter, layers, patience, references)


def _warn(codecs: Codecs, points: OperatingPoints, settings: Settings) -> None:
    """Say what was asked for and will not be done with the bundles that are here."""
    for camera, choice in {"everybody": points.everybody, **points.cameras}.items():
        rated = codecs.chosen(choice.codec)
        if rated is not None and resolved(choice, rated.ways) != choice:
            log.warning(
                "this bundle cannot do what was asked for",
                camera=camera,
                **choice._asdict(),
                hint=choosing.refused(choice, rated),
            )
    encoder = codecs.current
    if settings.shadow and encoder is not None and not encoder.checkable:
        log.warning(
            "no pictures go along with frames: the cloud could not check by them",
            setting="MIDSTREAM_EDGE_SHADOW",
            hint=choosing.missing(Mode.IMAGE, encoder),
        )


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
        while not task.done():  # Python before 3.13 loses a cancellation that comes while a TaskGroup ends by an error
            task.cancel()
            await asyncio.wait([task], timeout=1)
