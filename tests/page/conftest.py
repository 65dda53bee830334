"""A browser for all tests of the page, a cloud for each module; skipped where there is no Chromium."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.stand import Service
from common.bundle import Bundle
from tests.cloud import tiny
from tests.page import browser
from tests.page.camera import Edge
from tests.scalable import tiny as scalable_tiny


@dataclass
class Cloud:
    """A cloud that runs the detector of tests.cloud.tiny, or another."""

    service: Service
    bundle: Bundle

    @property
    def url(self) -> str:
        return f"{self.service.url}/"

    def edge(self, edge_id: str = "edge-1") -> Edge:
        return Edge(self.service.port("grpc"), self.bundle, edge_id)


def _start(folder: pytest.TempPathFactory, write: Callable[[Path], Bundle] = tiny.write) -> Iterator[Cloud]:
    root = folder.mktemp("page")
    bundle = write(root / "bundles")
    service = Service("cloud", root, {"MIDSTREAM_CLOUD_BUNDLES_DIR": str(root / "bundles")}, ("http", "grpc"))
    try:
        yield Cloud(service.start(), bundle)
    finally:
        service.kill()


@pytest.fixture(scope="session")
def chromium() -> Iterator[browser.Page]:
    path = browser.installed()
    if path is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    with browser.started(path) as page:
        yield page


@pytest.fixture(scope="module")
def cloud(chromium: browser.Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Shared by a module's tests: each takes a camera's name of its own."""
    yield from _start(tmp_path_factory)


@pytest.fixture
def own_cloud(chromium: browser.Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An empty one, to be stopped and started at will."""
    yield from _start(tmp_path_factory)


@pytest.fixture
def layered_cloud(chromium: browser.Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One whose frames are coded in layers: tests.scalable.tiny."""
    yield from _start(tmp_path_factory, scalable_tiny.write)


@pytest.fixture
def page(chromium: browser.Page) -> Iterator[browser.Page]:
    """The tab. A test ends with no complaint in its console but those it has taken out itself."""
    yield chromium
    assert not chromium.errors
    chromium.call("Page.navigate", url="about:blank")
