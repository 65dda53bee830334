"""uvicorn as a part that is told when to stop, instead of a program that takes the process's signals."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from common.errors import MidstreamError

_GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Serves an application whose lifespan somebody else runs."""

    def __init__(
        self, app: FastAPI, *, on_start: Callable[[int], None], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._on_start = on_start
        self._on_stop = on_stop
        self._starting: asyncio.Task[Any] | None = None

    def heed_signals(self) -> None:
        """Stop on SIGTERM and SIGINT; at once when told a second time. Until requests are served, the task that calls
        this is cancelled instead: what it waits for, such as a database, may never come.
        """
        self._starting = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)

    def stop(self) -> None:
        """Answer what was asked, then let `serve` return."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()
        if self._starting and not self.started:
            self._starting.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not uvicorn's way: it raises the signal again when done, and a drained service exits with 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say where."""
        await super().startup(sockets)
        if sockets:
            self._on_start(sockets[0].getsockname()[1])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises MidstreamError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        raise MidstreamError(f"cannot listen on {host}:{port}: {e.strerror}; another port may be free") from e
    return listener


def write_port(path: Path, port: int) -> None:
    """Say which port it is. Whoever waits for the file never reads half of it."""
    scratch = path.with_suffix(".new")
    scratch.write_text(f"{port}\n")
    scratch.rename(path)
