"""uvicorn, with what a camera's server needs besides: bounded headers, a port that is told, a drain on SIGTERM."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common.errors import SettingsError

MAX_HEAD_BYTES = 32 << 10
KEEP_ALIVE_SECONDS = 75
"""Longer than the pause between two frames of a slow camera."""
GRACE_SECONDS = 5
"""How long requests in progress may take once everything else has drained."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError saying what would help."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as e:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({e.strerror or e}): set MIDSTREAM_EDGE_HTTP_HOST and _HTTP_PORT (0: any)"
        ) from e


async def serve(app: FastAPI, listener: socket.socket, port_file: Path, drain: Callable[[], Awaitable[None]]) -> None:
    """Serve until the first SIGTERM or SIGINT, then `drain` while still answering, then stop."""
    config = uvicorn.Config(
        app,
        http=_BoundedHead,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody asks where a request comes from
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _write_port(port_file, listener.getsockname()[1])
    await _Server(config, drain).serve(sockets=[listener])


def _write_port(path: Path, port: int) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(f"{port}\n")
    scratch.replace(path)  # whoever reads it sees a whole number


class _Server(uvicorn.Server):
    """The first signal drains, the second stops at once."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._leaving: asyncio.Task[None] | None = None
        self._signalled = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and the process die of it: leaving when asked is exit 0.
        if self._signalled:
            self.should_exit = self.force_exit = True
        self._signalled = True
        self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True


class _BoundedHead(HttpToolsProtocol):
    """httptools keeps a header until it is complete, however long that takes: bound it."""

    _head = 0
    """Bytes received since the last head was complete, while in a head."""
    _in_head = True
    _moved = False

    def data_received(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        self._head = 0 if self._moved or not self._in_head else self._head + len(data)
        if self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the head of the request is longer than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._in_head, self._moved = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = self._moved = True  # what came with the end of a body is no head
        super().on_message_complete()
