"""Builds the parts of the cloud and hands them to each other; starts and stops them.

`build(settings)` gives the parts as one ASGI application whose lifespan is the cloud's. `run(settings)` serves it
until SIGTERM; then nothing accepted is lost and the process can exit with 0.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc
import structlog
import uvloop
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloud.api import bundles, clips, events, export, images, problems, results
from cloud.api import health as http_health
from cloud.api import rules as http_rules
from cloud.api import tracks as http_tracks
from cloud.api.shapes import Shapes
from cloud.aside import Aside
from cloud.clips import Clips
from cloud.engine import Engine
from cloud.grpc_bundles import BundleService
from cloud.hub import Hub
from cloud.ingest import IngestService
from cloud.layers import Layers
from cloud.links import Links
from cloud.opened import Opened
from cloud.page_files import PageFiles
from cloud.pipeline import Pipeline
from cloud.pixels import Pixels
from cloud.registry import Registry
from cloud.retention import Retention
from cloud.rules import Rules
from cloud.server import Server, listen, write_port
from cloud.settings import PACKAGED_BUNDLES, Settings
from cloud.store import Record, Store
from cloud.synthesis import Synthesis
from cloud.tiles import Tiles
from common import apidocs
from common.bundle import Bundle
from common.errors import BundleError, MidstreamError
from common.problems import SCHEMA
from common.telemetry import Metrics, setup_logging
from common.wire import SERVER_OPTIONS, stream_pb2_grpc

log = structlog.get_logger()

PAGE = Path(__file__).parent / "page"
_SERVICES = ("", "midstream.v1.IngestService", "midstream.v1.BundleService")
_LAST_WORDS_SECONDS = 2.0
_DESCRIPTION = "What edges saw: results, live events, exports, and the pixels when somebody wants to look."


class Cloud:
    """All parts, and the order in which they start and stop."""

    def __init__(self, settings: Settings) -> None:
        s = self.settings = settings
        self.metrics = Metrics("cloud", _version())
        self.registry = Registry.load(s.bundles_dir, s.bundle, PACKAGED_BUNDLES)
        self.store = Store(s.database_url, s.pictures_max_bytes, s.layers_max_bytes, s.track_score)
        self.shapes = Shapes(self.registry)
        self.hub = Hub(self.store, partial(events.render, self.shapes))
        self.engine = Engine(
            self.metrics,
            batch_max=s.batch_max,
            wait_ms=s.batch_wait_ms,
            threads=s.back_threads,
            min_score=s.min_stored_score,
            references_max_bytes=s.references_max_bytes,
        )
        self.pipeline = Pipeline(self.engine, self.store, self._publish, self.metrics, s.queue_max)
        self.retention = Retention(self.store, self.metrics, s.results_max_age_s, s.layers_max_age_s)
        self.links = Links(self.metrics.link_up)
        opened = Opened(s.back_threads)
        tiles = Tiles(opened)
        self.aside = Aside(self.store, tiles)
        self.layers = Layers(self.links, self.aside.keep, s.pictures_max_bytes, s.layers_max_bytes // 2)
        self.synthesis = Synthesis(opened)
        self.pixels = Pixels(self.registry, self.store, self.aside, self.layers, self.synthesis, tiles)
        self.clips = Clips(self.store, self.pixels)
        self.rules = Rules(self.store, self.pixels, self.metrics)
        self.ingest = IngestService(
            self.registry,
            self.pipeline,
            self.store,
            self.links,
            self.layers,
            self.metrics,
            s.window,
            s.edge_rate,
            self.engine.states.name,
        )
        self.grpc_port = 0
        self._preparing: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Database first, then the networks, then the door; back in the reverse order. Raises MidstreamError."""
        _prepare(self.settings.data_dir)
        async with AsyncExitStack() as stack:
            await self.store.open()
            stack.push_async_callback(self.store.close)
            await self.rules.open()
            for name, run in {"retention": self.retention.run, "rules": self.rules.run}.items():
                stack.push_async_callback(_end, asyncio.create_task(run(), name=name))
            stack.push_async_callback(self.synthesis.stop)
            stack.push_async_callback(self.clips.stop)
            for bundle in self.registry:  # one that does not work is an error now, not with its first frame
                await asyncio.to_thread(self.engine.prepare, bundle)
                if bundle is not self.registry.current:  # frames of it may come, but most likely none will
                    self.engine.forget(bundle)
            self.pipeline.start()
            stack.push_async_callback(self.pipeline.stop)
            server = self._server()
            self.grpc_port = self._bind(server)
            await server.start()
            stack.push_async_callback(server.stop, _LAST_WORDS_SECONDS)
            for service in _SERVICES:
                await self.health.set(service, health_pb2.HealthCheckResponse.SERVING)
            stack.push_async_callback(self._drain)
            write_port(self.settings.data_dir / "grpc.port", self.grpc_port)
            log.info("cloud ready", grpc_port=self.grpc_port, bundle=repr(self.registry.current))
            yield
            self.hub.close()
        log.info("cloud stopped", results=self.store.last_number)

    def _expect(self, bundle: Bundle) -> None:
        """Frames of this bundle are about to come: those of others must not wait until it is loaded."""
        if bundle.digest not in self._preparing:
            self._preparing[bundle.digest] = asyncio.create_task(self._prepare(bundle), name="prepare a bundle")

    async def _prepare(self, bundle: Bundle) -> None:
        try:
            await asyncio.to_thread(self.engine.prepare, bundle)
        except BundleError as e:
            log.warning("a bundle that an edge asked for does not load", error=str(e))
        finally:
            del self._preparing[bundle.digest]

    def _publish(self, records: list[Record]) -> None:
        self.hub.publish(records)
        self.rules.look(records)

    async def _drain(self) -> None:
        """Take nothing more, finish what was taken, say so."""
        await self.health.enter_graceful_shutdown()
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                await self.ingest.drain()
                await self.layers.drain()
        except TimeoutError:
            log.warning("stopping before all frames are settled; their edges will send them again")

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=SERVER_OPTIONS, compression=grpc.Compression.NoCompression)
        stream_pb2_grpc.add_IngestServiceServicer_to_server(self.ingest, server)
        stream_pb2_grpc.add_BundleServiceServicer_to_server(BundleService(self.registry, self._expect), server)
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        return server

    def _bind(self, server: grpc.aio.Server) -> int:
        s = self.settings
        host = f"[{s.grpc_host}]" if ":" in s.grpc_host else s.grpc_host
        try:
            return int(server.add_insecure_port(f"{host}:{s.grpc_port}"))
        except RuntimeError as e:
            raise MidstreamError(f"cannot listen on {host}:{s.grpc_port}; another port may be free") from e


def build(settings: Settings) -> FastAPI:
    """The application; `app.state.cloud` has the parts. Raises BundleError, StoreError."""
    cloud = Cloud(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with cloud.running():
            yield

    app = FastAPI(
        title="Midstream cloud",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": SCHEMA},
    )
    app.state.cloud = cloud
    problems.install(app)
    apidocs.install(app)
    app.include_router(results.router(cloud.store, cloud.links, cloud.shapes))
    app.include_router(http_tracks.router(cloud.store))
    app.include_router(images.router(cloud.store, cloud.pixels))
    app.include_router(clips.router(cloud.clips))
    app.include_router(http_rules.router(cloud.rules))
    app.include_router(events.router(cloud.hub))
    app.include_router(export.router(cloud.store, cloud.registry, cloud.shapes))
    app.include_router(bundles.router(cloud.registry))
    app.include_router(http_health.router(cloud.store, cloud.pipeline, cloud.links, cloud.metrics))
    _mount_page(app)
    return app


def _mount_page(app: FastAPI) -> None:
    if (PAGE / "index.html").is_file():
        app.mount("/", PageFiles(PAGE), name="page")
        return

    @app.get("/", include_in_schema=False)
    async def pointer() -> HTMLResponse:
        return HTMLResponse('<!doctype html><title>Midstream</title><p>See <a href="/docs">the API</a>.')


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises MidstreamError if it cannot start."""
    setup_logging("cloud", settings.log_level)
    app = build(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, settings))


async def _serve(app: FastAPI, settings: Settings) -> None:
    listener = listen(settings.http_host, settings.http_port)

    def listening(port: int) -> None:
        write_port(settings.data_dir / "http.port", port)
        log.info("page and API", url=f"http://{settings.http_host}:{port}/")

    # Event streams never end by themselves, and the server waits for its connections.
    server = Server(app, on_start=listening, on_stop=app.state.cloud.hub.close)
    server.heed_signals()
    try:
        async with app.router.lifespan_context(app):
            await server.serve([listener])
    except asyncio.CancelledError:
        if not server.should_exit:
            raise
        log.info("told to stop while starting")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("http.port", "grpc.port"):  # left by one that was killed
            (folder / name).unlink(missing_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        raise MidstreamError(f"cannot write to the folder {folder} (MIDSTREAM_CLOUD_DATA_DIR): {e.strerror}") from e


def _version() -> str:
    try:
        return version("midstream")
    except PackageNotFoundError:
        return "unknown"
