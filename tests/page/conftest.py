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

    def edge(self, edge_id: str = "edge-1", bundle: Bundle | None = None) -> Edge:
        return Edge(self.service.port("grpc"), bundle or self.bundle, edge_id)


@dataclass
class Looks:
    """A cloud, and bundles beside its own: `tiled` has a picture of low frequencies and tiles above it, `denoising` a
    clean picture and a noisy one.
    """

    cloud: Cloud
    tiled: Bundle
    denoising: Bundle


def _start(folder: pytest.TempPathFactory, write: Callable[[Path], Bundle] = tiny.write) -> Iterator[Cloud]:
    root = folder.mktemp("page")
    bundle = write(root / "bundles")
    settings = {"MIDSTREAM_CLOUD_BUNDLES_DIR": str(root / "bundles"), "MIDSTREAM_CLOUD_BUNDLE": bundle.digest}
    service = Service("cloud", root, settings, ("http", "grpc"))
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


@pytest.fixture(scope="module")
def looks(chromium: browser.Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looks]:
    """Shared by a module's tests: each takes a camera's name of its own."""
    made: list[Bundle] = []

    def write(parent: Path) -> Bundle:
        made.append(scalable_tiny.write(parent, scalable_tiny.FREQUENCY))
        made.append(scalable_tiny.write(parent, scalable_tiny.DENOISE))
        return tiny.write(parent)

    for cloud in _start(tmp_path_factory, write):
        yield Looks(cloud, *made)


@pytest.fixture
def page(chromium: browser.Page) -> Iterator[browser.Page]:
    """The tab. A test ends with no complaint in its console but those it has taken out itself."""
    yield chromium
    assert not chromium.errors
    chromium.call("Page.navigate", url="about:blank")
