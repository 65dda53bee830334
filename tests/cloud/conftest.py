"""A cloud with real gRPC, real HTTP and a real database."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.app import Cloud, build
from cloud.server import Server, listen
from cloud.settings import Settings
from cloud.store import Store
from common.bundle import Bundle
from tests.cloud import tiny
from tests.cloud.speaker import Edge

NOBODY = 65534


@dataclass
class Running:
    """A cloud that runs in this process, and how to reach it."""

    parts: Cloud
    http: httpx.AsyncClient
    bundle: Bundle

    def edge(self, edge_id: str = "edge-1", epoch: str | None = None) -> Edge:
        return Edge(self.parts.grpc_port, edge_id, epoch)

    def payload(self, cells: dict[tuple[int, int, int], float] | None = None, size: int = 320) -> bytes:
        return tiny.payload(self.bundle, cells, size)

    async def json(self, path: str, **params: Any) -> Any:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def counter(self, line: str) -> float:
        """The value of a metric with its labels, 0 if it is not there."""
        text = (await self.http.get("/metrics")).text
        return next((float(x.rsplit(" ", 1)[1]) for x in text.splitlines() if x.startswith(line)), 0.0)


@asynccontextmanager
async def running(settings: Settings, bundle: Bundle) -> AsyncIterator[Running]:
    """A cloud, from start to drained."""
    app = build(settings)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = Server(app, on_start=port.set_result, on_stop=app.state.cloud.hub.close)
    async with app.router.lifespan_context(app):
        serving = asyncio.create_task(server.serve([listen("127.0.0.1", 0)]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await port}", timeout=30) as http:
            try:
                yield Running(app.state.cloud, http, bundle)
            finally:
                server.stop()
                await serving


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def settings(tmp_path: Path, bundle: Bundle) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        return Settings(
            **{"data_dir": tmp_path / "data", "bundles_dir": bundle.path.parent, "grpc_port": 0, "http_port": 0}
            | values
        )

    return make


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(settings: Callable[..., Settings], bundle: Bundle) -> Start:
    """Start a cloud with these settings: `async with start(window=4) as cloud`."""
    return lambda **values: running(settings(**values), bundle)


@pytest.fixture
async def cloud(start: Start) -> AsyncIterator[Running]:
    async with start() as one:
        yield one


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL cluster of our own, without a database's name."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if not binaries:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="midstream-pg-"))
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    port = _free_port()

    def pg(name: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        command = [binaries[-1] / name, "-D", folder / "data", *arguments]
        with (folder / "log").open("ab") as log:
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, **user)  # type: ignore[call-overload]
        assert done.returncode == 0, (folder / "log").read_text()

    try:
        pg("initdb", "--auth=trust", "--username=midstream", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        pg("pg_ctl", "start", "--wait", "-o", options)
        yield f"postgresql://midstream@127.0.0.1:{port}"
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            pg("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'results.db'}"
    import asyncpg

    server: str = request.getfixturevalue("postgres")
    name = f"t{abs(hash(request.node.nodeid)):x}"
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server}/{name}"


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """An open one, on either kind of database."""
    one = Store(database, 1 << 20)
    await one.open()
    yield one
    await one.close()
