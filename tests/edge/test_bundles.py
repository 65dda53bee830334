"""An edge that knows only the cloud's address; caches; what is damaged or foreign is named, never run."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import unpack
from common.errors import BundleError
from common.types import Mode
from edge import bundles as following
from edge import fetch
from edge.app import running
from edge.encode import Encoder
from edge.link import open_channel
from edge.points import Point
from edge.settings import Settings
from tests.edge import tiny
from tests.edge.conftest import Start
from tests.edge.peer import Peer, ack, silent, until
from tests.edge.pictures import jpeg


async def test_learned_fetched_verified_cached_and_the_cloud_may_go(
    start: Start, peer: Peer, bundle: Bundle, tmp_path: Path
) -> None:
    async with start(peer) as edge:
        assert edge.parts.bundles.running and edge.parts.bundles.running.digest == bundle.digest
        cached = tmp_path / "edge" / "bundles" / bundle.digest
        assert {f.name for f in cached.iterdir()} == {"bundle.toml", "front.onnx"}, "the edge's files only"
        await until(lambda: (tmp_path / "edge" / "bundles" / "current").exists())
    await peer.stop()
    async with start(peer) as edge:
        assert (await edge.post(jpeg())).status_code == 202
    await peer.start()
    served = peer.files_served
    async with start(peer) as edge:
        await until(lambda: edge.parts.spool.stats.ended)
        assert peer.files_served == served, "what is cached is not fetched again"


async def test_no_cloud_and_no_cache_waits_and_says_so(start: Start, peer: Peer) -> None:
    await peer.stop()
    async with start(peer, ready=False) as edge:
        await until(lambda: "cannot be asked" in edge.parts.bundles.trouble)
        assert (await edge.http.get("/livez")).status_code == 200
        ready = await edge.http.get("/readyz")
        assert ready.status_code == 503 and "cannot be asked" in ready.json()["components"]["model"]["reason"]
        answer = await edge.post(jpeg())
        assert (
            answer.status_code == 503 and answer.headers["retry-after"] and answer.json()["type"].endswith("no-bundle")
        )
        for path in ("/v1/bundle", "/v1/operating-point"):
            assert (await edge.http.get(path)).status_code == 503
        await peer.start()
        await until(lambda: edge.parts.codecs.current)
        assert (await edge.post(jpeg())).status_code == 202


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "SHA-256"),
        (lambda content: content[:-1], "bytes, the manifest says"),
        (lambda content: content + b"x", "longer than"),
    ],
)
async def test_what_arrives_damaged_is_not_used(start: Start, peer: Peer, spoil: object, says: str) -> None:
    peer.spoil = spoil  # type: ignore[assignment]
    async with start(peer, ready=False) as edge:
        await until(lambda: says in edge.parts.bundles.trouble)
        assert edge.parts.codecs.current is None
        peer.spoil = bytes
        await until(lambda: edge.parts.codecs.current)


async def test_a_damaged_cache_is_fetched_again(start: Start, peer: Peer, bundle: Bundle, tmp_path: Path) -> None:
    async with start(peer):
        pass
    front = tmp_path / "edge" / "bundles" / bundle.digest / "front.onnx"
    front.write_bytes(front.read_bytes()[:-1] + b"?")
    async with start(peer) as edge:
        assert peer.files_served == 2
        assert (await edge.post(jpeg())).status_code == 202


async def test_a_damaged_cache_and_no_cloud_is_no_bundle(
    start: Start, peer: Peer, bundle: Bundle, tmp_path: Path
) -> None:
    async with start(peer):
        pass
    await peer.stop()
    (tmp_path / "edge" / "bundles" / bundle.digest / "bundle.toml").write_text("format = 1")
    async with start(peer, ready=False) as edge:
        await until(lambda: "cannot be asked" in edge.parts.bundles.trouble)
        assert edge.parts.codecs.current is None


async def test_a_new_bundle_takes_over_while_frames_flow(
    start: Start, peer: Peer, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny.write(tmp_path / "other", seed=1)
    peer.verdict = silent
    monkeypatch.setattr(following, "TIDY_S", 0.1)
    async with start(peer) as edge:
        assert (await edge.post(jpeg())).status_code == 202
        peer.folder = other.path
        peer.hang_up()
        await until(lambda: edge.parts.bundles.running and edge.parts.bundles.running.digest == other.digest)
        assert (await edge.post(jpeg())).status_code == 202
        frames = await edge.parts.spool.pending(0, 10, 1 << 20)
        assert [unpack(f.payload).bundle for f in frames] == [bundle.prefix, other.prefix]
        await until(lambda: (tmp_path / "edge" / "bundles" / "current").read_text() == other.digest)
        third = tiny.write(tmp_path / "third", seed=2)
        peer.folder = third.path
        peer.hang_up()
        await until(lambda: edge.parts.bundles.running and edge.parts.bundles.running.digest == third.digest)
        assert await edge.parts.spool.bundles() == {bundle.prefix, other.prefix}, "frames that wait may need them"
        peer.verdict = ack
        peer.hang_up()
        await until(lambda: edge.parts.spool.stats.queued == 0)
        await until(lambda: not (tmp_path / "edge" / "bundles" / bundle.digest).exists())


async def test_a_pinned_bundle_stays(start: Start, peer: Peer, bundle: Bundle, tmp_path: Path) -> None:
    peer.folder = tiny.write(tmp_path / "other", seed=1).path
    async with start(peer, bundle=bundle.path) as edge:
        await until(lambda: edge.parts.bundles.wanted)
        found = (await edge.http.get("/v1/bundle")).json()
        assert found["pinned"] and found["digest"] == bundle.digest != found["cloud_wants"]


async def test_a_pinned_bundle_that_is_damaged_stops_the_start(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path / "b")
    (bundle.path / "front.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"front\.onnx has 8 bytes"):
        async with running(Settings(data_dir=tmp_path / "edge", bundle=bundle.path)):
            pass
    with pytest.raises(BundleError, match="cannot read"):
        async with running(Settings(data_dir=tmp_path / "edge", bundle=tmp_path / "nowhere")):
            pass


def foreign(tmp_path: Path, front: bytes | None = None, **tables: object) -> Bundle:
    made = tiny.write(tmp_path / "made")
    manifest = made.manifest.model_dump(exclude={"format", "files"})
    return bundles.write(
        tmp_path, {**manifest, **tables}, {"front.onnx": ("edge", front or tiny.front()), "back.onnx": ("cloud", b"")}
    )


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"codec": {"name": "tomorrow"}}, "is 'tomorrow'; this program knows"),
        ({"codec": {"name": "lightweight"}}, r"\[codec\] table"),
        ({"input": {"width": 320, "height": 240}}, "only squares"),
        ({"cut": {"tensors": [{"name": "elsewhere", "shape": [1]}], "macs_front": 1, "macs_back": 1}}, "'elsewhere'"),
    ],
)
def test_a_foreign_bundle_is_named(tmp_path: Path, tables: dict[str, object], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        Encoder(foreign(tmp_path, **tables))


def test_a_front_half_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a network"):
        Encoder(foreign(tmp_path, front=b"\x08\x08garbage"))


async def test_a_bundle_too_large_for_an_edge_is_not_fetched(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BUNDLE_BYTES", 100)
    async with open_channel(peer.address) as channel:
        with pytest.raises(BundleError, match="more than 100"):
            await fetch.download(channel, fetch.Cache(tmp_path), await fetch.ask(channel))
    assert peer.files_served == 0


@asynccontextmanager
async def asked(peer: Peer, folder: Path) -> AsyncIterator[Callable[[], Awaitable[Bundle]]]:
    """What downloads the bundle that the peer names into this folder."""
    async with open_channel(peer.address) as channel:

        async def download() -> Bundle:
            return await fetch.download(channel, fetch.Cache(folder), await fetch.ask(channel))

        yield download


async def test_a_thin_link_brings_a_bundle_as_long_as_it_brings_anything(
    peer: Peer, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SILENCE_S", 2.0)
    monkeypatch.setattr(fetch, "LEAST_RATE", 100)
    peer.piece, peer.pause = 300, 0.25  # all of it takes longer than it may be silent
    async with asked(peer, tmp_path) as download:
        assert (await download()).digest == bundle.digest


@pytest.mark.parametrize("pause", [3600.0, 0.01])
async def test_a_cloud_that_is_silent_or_dribbles_holds_nobody_for_ever(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(fetch, "SILENCE_S", 0.3)
    monkeypatch.setattr(fetch, "LEAST_RATE", 1 << 20)
    peer.piece, peer.pause = 1, pause
    async with asked(peer, tmp_path) as download, asyncio.timeout(20):
        with pytest.raises(BundleError, match=r"front\.onnx comes too slowly"):
            await download()


async def test_files_that_are_here_do_not_travel_again(peer: Peer, tmp_path: Path) -> None:
    one, other = (tiny.write(tmp_path / "cloud", seed, "both") for seed in range(2))
    front = (one.path / "front.onnx").read_bytes()
    edge = tmp_path / "edge"
    peer.folder = one.path
    async with asked(peer, edge) as download:
        peer.spoil = lambda content: content[:-1] if content == front else content
        with pytest.raises(BundleError, match=r"front\.onnx has"):
            await download()
        assert peer.files_served == 2
        peer.spoil = bytes
        assert (await download()).digest == one.digest
        assert peer.files_served == 3, "back.onnx had come"
        assert [path.name for path in edge.iterdir()] == [one.digest], "nothing is left aside"

        peer.folder = other.path
        assert bundles.load((await download()).path, "edge").digest == other.digest
        assert peer.files_served == 4, "both have one back.onnx"


async def test_a_damaged_file_that_is_here_travels_again(peer: Peer, tmp_path: Path) -> None:
    one, other = (tiny.write(tmp_path / "cloud", seed, "both") for seed in range(2))
    async with asked(peer, tmp_path / "edge") as download:
        peer.folder = one.path
        back = (await download()).file("back.onnx")
        back.write_bytes(back.read_bytes()[:-1] + b"?")
        peer.folder = other.path
        assert bundles.load((await download()).path, "edge").digest == other.digest
        assert peer.files_served == 4


def test_what_is_put_aside_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_BUNDLE_BYTES", 2500)
    cache = fetch.Cache(tmp_path)
    for n in range(5):
        content = bytes([n]) * 1000
        file = bundles.File(sha256=hashlib.sha256(content).hexdigest(), bytes=1000, side="edge")
        cache.put_aside(content, file)
        assert cache.find("any", file) == content
        assert len(list((tmp_path / "partial").iterdir())) <= 2


async def test_several_threads_encode_at_once_as_one_does(bundle: Bundle) -> None:
    encoder = Encoder(bundle)
    pictures = [jpeg(seed=i) for i in range(8)]
    alone = [encoder.encode(p, Point(Mode.SPLIT, 4)).container for p in pictures]
    together = await asyncio.gather(*(asyncio.to_thread(encoder.encode, p, Point(Mode.SPLIT, 4)) for p in pictures))
    assert [e.container for e in together] == alone
