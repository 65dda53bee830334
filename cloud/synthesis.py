"""Coded layers to pictures, in a thread of their own, at low priority: no frame waits for somebody who looks.

The answers are remembered, so that a picture that many look at is made once. How many may wait is bounded, and so are
the bytes of what is remembered.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cloud import encoded
from cloud.opened import Opened
from common.bundle import Bundle
from common.codec import Layer
from common.errors import MidstreamError
from common.layers import BASE, MASK
from common.network.priority import stand_back
from common.scalable.regions import Region

_MAX_WAITING = 16
_MAX_REMEMBERED = 64 * 1024 * 1024


class BusyError(MidstreamError):
    """Too many wait for pictures already."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The layer of this name, made of all these; `size` is the picture's width and height. With `regions` the layer is
    shown there, and elsewhere what is below it.
    """

    name: str
    layers: tuple[Layer, ...]
    size: tuple[int, int]
    regions: tuple[Region, ...] | None = None


class Synthesis:
    """Pictures by a key that says all of what they are made of. `stop` it last."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._pool = ThreadPoolExecutor(1, "synthesis", initializer=stand_back)
        self._making: dict[str, asyncio.Future[bytes]] = {}
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    async def picture(self, key: str, bundle: Bundle, shown: Shown, form: str) -> bytes:
        """A layer as a file. Raises BusyError, BitstreamError, BundleError."""
        return await self._make(key, lambda: self._picture(bundle, shown, form))

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

    def _picture(self, bundle: Bundle, shown: Shown, form: str) -> bytes:
        networks = self._opened.of(bundle)
        if shown.name == MASK:
            return encoded.mask(networks.mask(shown.layers, *shown.size), form)
        if shown.name == BASE:
            return encoded.photo(networks.preview(shown.layers, *shown.size), form)
        return encoded.photo(networks.decode(shown.layers, *shown.size, shown.name, shown.regions), form)
