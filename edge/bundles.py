"""Which bundle the edge runs: a local folder, or what the cloud names, fetched, verified and kept for next time.

data_dir/bundles/<digest>/   verified content
data_dir/bundles/current     the digest to start with while the cloud cannot be asked
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import structlog

from common import bundle as bundles
from common.bundle import Bundle
from common.errors import BundleError
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc
from edge.link import backoff

ASK_SECONDS = 5.0
FETCH_SECONDS = 120.0
MAX_BUNDLE_BYTES = 256 << 20
"""Of the edge's files together: they pass through memory on their way to disk."""

log = structlog.get_logger(__name__)
Install = Callable[[Bundle], Awaitable[None]]


class Cache:
    """The bundles on disk, and which one was run last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, digest: str) -> Bundle | None:
        """This bundle, verified, or None. What does not verify is removed, so that it can be fetched again."""
        path = self.folder / digest
        if not path.exists():
            return None
        try:
            return bundles.load(path, "edge", digest)
        except BundleError as e:
            log.warning("the cached bundle is damaged and was removed", digest=digest, error=str(e))
            shutil.rmtree(path, ignore_errors=True)
            return None

    def by_prefix(self, prefix: bytes) -> Bundle | None:
        """The bundle whose digest begins so, verified, or None."""
        start = prefix.hex()
        names = [path.name for path in self.folder.glob(f"{start}*") if len(path.name) == 64]
        return self.get(names[0]) if names else None

    def current(self) -> Bundle | None:
        """The bundle that was run last."""
        try:
            digest = (self.folder / "current").read_text().strip()
        except OSError:
            return None
        return self.get(digest) if len(digest) == 64 and digest.isalnum() else None

    def remember(self, digest: str) -> None:
        """Start with this one next time, and drop all but it and the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pointer = self.folder / "current"
        before = pointer.read_text().strip() if pointer.exists() else ""
        if before == digest:
            return
        scratch = self.folder / ".current"
        with scratch.open("w") as f:
            f.write(digest)
            f.flush()
            os.fsync(f.fileno())
        scratch.replace(pointer)
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in (digest, before):
                shutil.rmtree(path, ignore_errors=True)


async def fetch(channel: grpc.aio.Channel, cache: Cache) -> Bundle:
    """The cloud's current bundle, from the cache if it is there. Raises BundleError or grpc.aio.AioRpcError."""
    stub = rpc.BundleServiceStub(channel)
    answer = await stub.GetCurrentBundle(pb.GetCurrentBundleRequest(), timeout=ASK_SECONDS)
    digest, manifest = bundles.parse_manifest(answer.manifest, answer.digest)
    if (known := await asyncio.to_thread(cache.get, digest)) is not None:
        return known
    wanted = {n: f for n, f in manifest.files.items() if f.side in ("edge", "both")}
    if (total := sum(f.bytes for f in wanted.values())) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the bundle's edge files have {total} bytes, more than {MAX_BUNDLE_BYTES}")
    files = {n: await _fetch_file(stub, digest, n, f) for n, f in wanted.items()}
    log.info("bundle fetched", digest=digest, name=manifest.name, bytes=total)
    return await asyncio.to_thread(bundles.store, cache.folder, answer.manifest, files, digest, manifest)


async def _fetch_file(stub: rpc.BundleServiceStub, digest: str, name: str, file: bundles.File) -> bytes:
    content = bytearray()
    async for part in stub.FetchFile(pb.FetchFileRequest(digest=digest, name=name), timeout=FETCH_SECONDS):
        content += part.chunk
        if len(content) > file.bytes:
            raise BundleError(f"{name} is longer than the {file.bytes} bytes its manifest says")
    bundles.verify_file(bytes(content), name, file)
    return bytes(content)


class Bundles:
    """One task that gets the first bundle and then follows what the cloud names. `install` puts one to work."""

    def __init__(self, cache: Cache, channel: grpc.aio.Channel | None, install: Install) -> None:
        self._cache = cache
        self._channel = channel
        self._install = install
        self._news = asyncio.Event()
        self.running: Bundle | None = None
        self.wanted = ""
        self.pinned = False
        self.trouble = "the cloud has not been asked yet"

    def __repr__(self) -> str:
        return f"<bundles: running {self.running!r}{', pinned' if self.pinned else ''}>"

    def known(self, prefix: bytes) -> Bundle | None:
        """The bundle whose digest begins so: the one that runs, or one that ran before. From any thread."""
        running = self.running
        return running if running is not None and running.prefix == prefix else self._cache.by_prefix(prefix)

    async def pin(self, path: Path) -> None:
        """Run the bundle in this folder, whatever the cloud says. Raises BundleError."""
        self.pinned = True
        await self._run(await asyncio.to_thread(bundles.load, path, "edge"))

    def heard(self, digest: str) -> None:
        """The cloud named the bundle it wants used."""
        if digest == self.wanted:
            return
        self.wanted = digest
        if self.running is not None and digest != self.running.digest:
            log.info("the cloud names another bundle", digest=digest, pinned=self.pinned)
            self._news.set()

    async def follow(self) -> None:
        """Get a bundle, then each new one the cloud names. Runs until cancelled."""
        if self._channel is None or self.pinned:
            return
        if self.running is None and not await self._try():
            await self._fall_back()
        while True:
            if self.running is not None:
                await self._news.wait()
                self._news.clear()
            await self._insist()

    async def _fall_back(self) -> None:
        """Run the bundle of last time; without one there is nothing to do but ask on."""
        known = await asyncio.to_thread(self._cache.current)
        if known is None:
            log.warning(
                "no bundle is cached and the cloud cannot be asked: start the cloud, or set MIDSTREAM_EDGE_BUNDLE",
                error=self.trouble,
            )
            return
        try:
            await self._run(known)
            log.info("running the cached bundle while the cloud cannot be asked", digest=known.digest)
        except BundleError as e:
            log.warning("the cached bundle does not run", digest=known.digest, error=str(e))

    async def _insist(self) -> None:
        for delay in backoff():
            if await self._try():
                return
            await asyncio.sleep(delay)

    async def _try(self) -> bool:
        assert self._channel is not None
        try:
            bundle = await fetch(self._channel, self._cache)
            if self.running is None or bundle.digest != self.running.digest:
                await self._run(bundle)
            await asyncio.to_thread(self._cache.remember, bundle.digest)
        except grpc.aio.AioRpcError as e:
            self.trouble = f"the cloud cannot be asked: {e.code().name} {e.details()}"
        except (BundleError, OSError) as e:
            self.trouble = str(e)
            log.warning("the cloud's bundle cannot be used", error=self.trouble)
        else:
            self.trouble = ""
        return not self.trouble

    async def _run(self, bundle: Bundle) -> None:
        await self._install(bundle)
        self.running, self.trouble = bundle, ""
        log.info("bundle running", digest=bundle.digest, bundle=repr(bundle))
