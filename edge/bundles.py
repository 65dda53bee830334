"""Which bundles the edge runs: a local folder, or what the cloud names as current, and those that somebody has chosen
by their names for a camera. Each is fetched, verified and kept for next time (fetch.py), then put to work (codecs.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import structlog

from common import bundle as bundles
from common.bundle import Bundle
from common.errors import BundleError
from edge import fetch
from edge.codecs import Codecs
from edge.fetch import Cache
from edge.link import backoff

TIDY_S = 60.0
"""How often bundles are looked for that nobody needs. What is removed was not needed the time before, either: a frame
may have been coded with it that is not in the ring yet.
"""

log = structlog.get_logger(__name__)
Install = Callable[[Bundle], Awaitable[None]]
Names = Callable[[], set[str]]


class Bundles:
    """One task that gets the first bundle and then follows what the cloud names and what is chosen.

    `install` puts the current one to work, `codecs` those that go by a name; `chosen` gives their names.
    """

    def __init__(
        self, cache: Cache, channel: grpc.aio.Channel | None, install: Install, codecs: Codecs, chosen: Names
    ) -> None:
        self._cache = cache
        self._channel = channel
        self._install = install
        self._codecs = codecs
        self._chosen = chosen
        self._news = asyncio.Event()
        self.running: Bundle | None = None
        self.held: dict[str, str] = {}
        """The bundles that the cloud held when it was last asked: their names and digests."""
        self.wanted = ""
        self.pinned = False
        self.trouble = "the cloud has not been asked yet"

    def __repr__(self) -> str:
        return f"<bundles: running {self.running!r}{', pinned' if self.pinned else ''}>"

    def known(self, prefix: bytes) -> Bundle | None:
        """The bundle whose digest begins so: the one that runs, or one that is still on disk. From any thread."""
        running = self.running
        return running if running is not None and running.prefix == prefix else self._cache.by_prefix(prefix)

    async def pin(self, path: Path) -> None:
        """Run the bundle in this folder, whatever the cloud says. Raises BundleError."""
        self.pinned = True
        await self._run(await asyncio.to_thread(bundles.load, path, "edge"))

    def heard(self, digest: str) -> None:
        """The cloud named the bundle it wants used; it may be another cloud by now, which holds other bundles."""
        known, self.wanted = self.wanted, digest
        if self.running is None:
            return
        if digest not in (known, self.running.digest):
            log.info("the cloud names another bundle", digest=digest, pinned=self.pinned)
        if digest != self.running.digest or self._chosen():
            self._news.set()

    def look(self) -> None:
        """Something else was chosen."""
        self._news.set()

    async def refused(self, name: str) -> str:
        """Why nothing can be coded by this name; empty if it can, or if the cloud cannot be asked."""
        if self._codecs.chosen(name) is not None:
            return ""
        if self._channel is None:
            return f"there is no bundle {name!r} here, and this edge was given no cloud to fetch it from"
        try:
            await fetch.ask(self._channel, name)
        except grpc.aio.AioRpcError as e:
            return f"the cloud holds {e.details()}" if e.code() is grpc.StatusCode.NOT_FOUND else ""
        except BundleError as e:
            return str(e)
        return ""

    # ---- what follows

    async def follow(self) -> None:
        """Get a bundle, then each new one that the cloud names or somebody chooses. Runs until cancelled."""
        if self._channel is None:
            return
        settled = await self._try(self._channel)
        if self.running is None:
            await self._fall_back()
        delays = backoff()
        while True:
            if await self._something_new(None if settled else next(delays)):
                delays = backoff()
            settled = await self._try(self._channel)

    async def _something_new(self, within: float | None) -> bool:
        """Whether there are news within so many seconds; None: wait for them."""
        try:
            async with asyncio.timeout(within):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    async def _try(self, channel: grpc.aio.Channel) -> bool:
        """Whether all that is wanted runs, or will not before there are news."""
        names = sorted(self._chosen())
        if self.running is None:  # first what is on disk: from the first frame on, all are coded as was chosen
            await asyncio.gather(*(self._from_disk(channel, name) for name in names))
        settled = self.pinned or await self._try_current(channel)
        for name in names:
            settled &= await self._try_named(channel, name)
        self._codecs.keep(self._chosen())
        try:
            self.held = await fetch.names(channel)
        except grpc.aio.AioRpcError as e:
            log.debug("the cloud does not list its bundles", code=e.code().name)
        return settled

    async def _try_current(self, channel: grpc.aio.Channel) -> bool:
        try:
            bundle = await self._got(channel)
            if self.running is None or bundle.digest != self.running.digest:
                await self._run(bundle)
            await asyncio.to_thread(self._cache.remember, bundle.digest)
        except grpc.aio.AioRpcError as e:
            self.trouble = _away(e)
        except (BundleError, OSError) as e:
            self.trouble = str(e)
            log.warning("the cloud's bundle cannot be used", error=self.trouble)
        else:
            self.trouble = ""
        return not self.trouble

    async def _try_named(self, channel: grpc.aio.Channel, name: str) -> bool:
        try:
            bundle = await self._got(channel, name)
            await self._codecs.add(name, bundle)
            await asyncio.to_thread(self._cache.remember, bundle.digest, name)
        except grpc.aio.AioRpcError as e:
            if e.code() is grpc.StatusCode.NOT_FOUND:
                self._codecs.refuse(name, f"the cloud holds {e.details()}")
                return True
            self._codecs.waits(name, f"{name} is not here yet: {_away(e)}")
            return False
        except (BundleError, OSError) as e:
            self._codecs.refuse(name, f"{name} cannot be used: {e}")
            return False
        return True

    async def _got(self, channel: grpc.aio.Channel, name: str = "") -> Bundle:
        offer = await fetch.ask(channel, name)
        if (known := await asyncio.to_thread(self._cache.get, offer.digest)) is not None:
            return known
        if name:
            self._codecs.waits(name, f"fetching {name}")
        return await fetch.download(channel, self._cache, offer)

    async def _from_disk(self, channel: grpc.aio.Channel, name: str) -> None:
        """What goes by this name, if it is on disk as the cloud has it; while that cannot be asked, as it had it."""
        try:
            offer = await fetch.ask(channel, name)
            bundle = await asyncio.to_thread(self._cache.get, offer.digest)
        except grpc.aio.AioRpcError as e:
            held = e.code() is not grpc.StatusCode.NOT_FOUND
            bundle = await asyncio.to_thread(self._cache.recall, name) if held else None
        except BundleError:  # will be said when it is fetched
            return
        try:
            if bundle is not None:
                await self._codecs.add(name, bundle)
        except BundleError as e:
            self._codecs.refuse(name, f"{name} cannot be used: {e}")

    async def _fall_back(self) -> None:
        """Run the bundle of last time; without one there is nothing to do but ask on."""
        known = await asyncio.to_thread(self._cache.recall)
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

    async def _run(self, bundle: Bundle) -> None:
        await self._install(bundle)
        self.running, self.trouble = bundle, ""
        log.info("bundle running", digest=bundle.digest, bundle=repr(bundle))

    # ---- what is on disk

    async def tidy(self, in_ring: Callable[[], Awaitable[set[bytes]]]) -> None:
        """Remove bundles that are neither in use nor needed for what is in the ring. Runs until cancelled."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(TIDY_S)
            idle = await asyncio.to_thread(self._idle, self._chosen(), self._codecs.in_use())
            if idle:
                ring = [prefix.hex() for prefix in await in_ring()]
                idle = {digest for digest in idle if not any(digest.startswith(prefix) for prefix in ring)}
                await asyncio.to_thread(self._cache.drop, idle & before)
            before = idle

    def _idle(self, chosen: set[str], used: set[str]) -> set[str]:
        """On disk, and not in use."""
        return self._cache.digests() - self._cache.keep(chosen) - used


def _away(error: grpc.aio.AioRpcError) -> str:
    return f"the cloud cannot be asked: {error.code().name} {error.details()}"
