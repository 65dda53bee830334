"""A cloud and an edge as two real processes on free ports: what the demo, the benches and the tests run on."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import MidstreamError

START_SECONDS = 60.0


class Service:
    """One process of the product: started, watched, stopped or killed, and started again on the same ports."""

    def __init__(self, command: str, root: Path, env: dict[str, str], ports: tuple[str, ...]) -> None:
        self.command = command
        self.data = root / command
        self.log = root / f"{command}.log"
        self._env = env
        self._ports = ports
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "not running" if self.process is None else f"pid {self.process.pid}"
        return f"<{self.command}: {state}, data in {self.data}>"

    def port(self, name: str) -> int:
        """The port the service chose; known once it has started."""
        return int((self.data / f"{name}.port").read_text())

    @property
    def url(self) -> str:
        """Where its HTTP API is."""
        return f"http://127.0.0.1:{self.port('http')}"

    def start(self, wait: bool = True) -> Self:
        """Start the process; with `wait`, return when it says it is ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        prefix = f"MIDSTREAM_{self.command.upper()}"
        env = {**os.environ, f"{prefix}_DATA_DIR": str(self.data), **self._env}
        for name in self._ports:  # free ports the first time, the same ones afterwards
            known = self.data / f"{name}.port"
            env[f"{prefix}_{name.upper()}_PORT"] = known.read_text().strip() if known.exists() else "0"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "midstream", self.command], env=env, stdout=log, stderr=log
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when /readyz says so. Raises MidstreamError with the end of the log if it does not come to that."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.05)
        raise MidstreamError(f"the {self.command} did not become ready; the end of {self.log}:\n{self.log_tail()}")

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError, urllib.error.URLError):
            return False

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, wait, and the exit status; SIGKILL if it does not go."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def rss_mb(self) -> float:
        """Resident memory now, MB."""
        import psutil

        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


class Stand:
    """A cloud and an edge that knows nothing but the cloud's address. A context manager."""

    def __init__(
        self, root: Path, edge_env: dict[str, str] | None = None, cloud_env: dict[str, str] | None = None
    ) -> None:
        self.cloud = Service("cloud", root, cloud_env or {}, ("http", "grpc"))
        self._edge_env = edge_env or {}
        self.edge = Service("edge", root, self._edge_env, ("http",))

    def start(self) -> Self:
        """Start both and wait until both are ready."""
        self.cloud.start()
        self._edge_env["MIDSTREAM_CLOUD"] = f"127.0.0.1:{self.cloud.port('grpc')}"
        self.edge.start()
        return self

    def stop(self) -> tuple[int, int]:
        """Stop the edge, then the cloud; their exit statuses."""
        return self.edge.stop(), self.cloud.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
