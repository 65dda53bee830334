"""Coded layers to pictures, in a thread of their own, at low priority: no frame waits for somebody who looks.

The answers are remembered, so that a picture that many look at is made once. How many may wait is bounded, and so are
the bytes of what is remembered.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cloud import encoded
from cloud.offers import BASE, MASK
from common.bundle import Bundle
from common.codec import Layer
from common.errors import MidstreamError
from common.network.priority import stand_back
from common.scalable import PictureLayers

_MAX_WAITING = 16
_MAX_REMEMBERED = 64 * 1024 * 1024
_MAX_BUNDLES = 3
"""Whose networks are in memory at once."""


class BusyError(MidstreamError):
    """Too many wait for pictures already."""


class Synthesis:
    """Pictures by a key that says all of what they are made of. `stop` it last."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(1, "synthesis", initializer=stand_back)
        self._making: dict[str, asyncio.Future[bytes]] = {}
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._networks: OrderedDict[str, PictureLayers] = OrderedDict()

    async def picture(
        self, key: str, bundle: Bundle, name: str, layers: Sequence[Layer], size: tuple[int, int], form: str
    ) -> bytes:
        """The layer of this name, made of all these, as a file; `size` is the picture's width and height.

        Raises BusyError, BitstreamError, BundleError.
        """
        return await self._make(key, lambda: self._picture(bundle, name, layers, size, form))

    async def again(self, key: str, data: bytes, size: tuple[int, int], form: str) -> bytes:
        """A picture of this width and height from an edge in another form. Raises BusyError, BitstreamError."""
        return await self._make(key, lambda: encoded.again(data, size, form))

    async def stop(self) -> None:
        """End the thread when it is done with what it does."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def _make(self, key: str, make: Callable[[], bytes]) -> bytes:
        if key in self._remembered:
            self._remembered.move_to_end(key)
            return self._remembered[key]
        if key not in self._making:
            self._start(key, make)
        return await asyncio.shield(self._making[key])  # one who leaves does not take it from the others

    def _start(self, key: str, make: Callable[[], bytes]) -> None:
        if len(self._making) >= _MAX_WAITING:
            raise BusyError(f"{_MAX_WAITING} pictures are being made already")
        made = self._making[key] = asyncio.get_running_loop().run_in_executor(self._pool, make)
        made.add_done_callback(lambda done: self._made(key, done))

    def _made(self, key: str, made: "asyncio.Future[bytes]") -> None:
        del self._making[key]
        if made.cancelled() or made.exception() is not None:
            return
        self._remembered[key] = made.result()
        self._bytes += len(made.result())
        while self._bytes > _MAX_REMEMBERED:
            _, oldest = self._remembered.popitem(last=False)
            self._bytes -= len(oldest)

    # ---- in the thread

    def _picture(self, bundle: Bundle, name: str, layers: Sequence[Layer], size: tuple[int, int], form: str) -> bytes:
        networks = self._opened(bundle)
        if name == MASK:
            return encoded.mask(networks.mask(layers, *size), form)
        if name == BASE:
            return encoded.photo(networks.preview(layers, *size), form)
        return encoded.photo(networks.decode(layers, *size), form)

    def _opened(self, bundle: Bundle) -> PictureLayers:
        if bundle.digest not in self._networks:
            self._networks[bundle.digest] = PictureLayers.open(bundle, self._threads)
        self._networks.move_to_end(bundle.digest)
        if len(self._networks) > _MAX_BUNDLES:
            self._networks.popitem(last=False)
        return self._networks[bundle.digest]
