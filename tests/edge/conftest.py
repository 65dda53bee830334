"""An edge in this process, with a real spool and a real stream to a cloud of plain data."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.bundle import Bundle
from edge.app import application, running
from edge.parts import Parts
from edge.settings import Settings
from tests.edge import tiny
from tests.edge.peer import Peer, until
from tests.scalable import tiny as layered


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
async def peer(bundle: Bundle) -> AsyncIterator[Peer]:
    peer = await Peer(bundle.path).start()
    yield peer
    await peer.stop()


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of which pictures can be had: the layers base and full."""
    return layered.write(tmp_path_factory.mktemp("two"), layered.TWO, conditioned=True, image=True)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With a mask between the two."""
    return layered.write(tmp_path_factory.mktemp("three"), layered.THREE)


@pytest.fixture
async def cloud(two: Bundle) -> AsyncIterator[Peer]:
    """A peer that serves `two`."""
    peer = await Peer(two.path).start()
    yield peer
    await peer.stop()


class Edge:
    """The parts, and a client of their HTTP side."""

    def __init__(self, parts: Parts, http: httpx.AsyncClient) -> None:
        self.parts = parts
        self.http = http

    async def post(self, data: bytes, wait: str | None = None, **headers: str) -> httpx.Response:
        """POST a picture; header names with underscores."""
        named = {"content-type": "image/jpeg", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.http.post("/v1/frames", content=data, headers=named, params={"wait": wait} if wait else {})

    async def state(self, frame_id: str) -> str:
        """The frame's state in the ledger, with its reason."""
        found = (await self.http.get(f"/v1/frames/{frame_id}")).json()
        return f"{found['state']}: {found['reason']}" if found["reason"] else str(found["state"])


Start = Callable[..., AbstractAsyncContextManager[Edge]]


@pytest.fixture
def start(tmp_path: Path, bundle: Bundle) -> Start:
    """`async with start(peer, **settings) as edge`: without a peer, an edge with a bundle and no cloud."""

    @asynccontextmanager
    async def started(peer: Peer | None = None, ready: bool = True, **settings: Any) -> AsyncIterator[Edge]:
        source = {"cloud": peer.address} if peer else {"bundle": bundle.path}
        async with running(Settings(**{"data_dir": tmp_path / "edge", **source, **settings})) as parts:
            app = application()
            app.state.parts = parts
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
                if ready:
                    await until(lambda: parts.codecs.current)
                yield Edge(parts, http)

    return started
