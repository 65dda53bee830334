"""Enhancements, coded when somebody asks: the kept picture and the frame as it was sent → the layers above its base.

A thread of its own does it, at low priority and one picture at a time, so that the frames that come meanwhile are as
quick as before. What waits is bounded: beyond it, whoever asks is told to ask again.

The networks of the bundle used last stay loaded. It is nearly always the current one; a frame of another bundle is
coded with that, as long as the edge has it on disk.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import Container, Layer
from common.codec.container import Kind
from common.errors import MidstreamError
from common.network.priority import stand_back
from common.scalable.pictures import MOST_PIXELS, Offered, PictureLayers
from edge import picture
from edge.meter import Meter

PLACES = 8
"""Pictures that are coded or wait for it; each one more is refused."""

Known = Mapping[tuple[int, int], bytes]
"""Enhancements of a frame that were coded before, by kind and quality."""


class BusyError(MidstreamError):
    """As many pictures wait as may."""


class NoLayerError(MidstreamError):
    """The frame has no such layer."""


class RangeError(MidstreamError):
    """The layer has no such quality."""


class BundleGoneError(MidstreamError):
    """Nobody here has the bundle any more that the frame was coded with."""


@dataclass(frozen=True, slots=True)
class Made:
    """One enhancement, at a quality. `new`: it was coded just now."""

    name: str
    layer: Layer
    quality: int
    new: bool


class Enhancer:
    """`async with enhancer.turn(): made = await enhancer.layers(container, picture, "full")`."""

    def __init__(self, threads: int, max_pixels: int, meter: Meter) -> None:
        self.find: Callable[[bytes], Bundle | None] = lambda prefix: None
        """The bundle with this prefix, if the edge has it. Asked in the thread that codes."""
        self._threads = threads
        self._max_pixels = max_pixels
        self._meter = meter
        self.waiting = 0
        """Pictures that are coded or wait for it."""
        self._turn = asyncio.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="enhance", initializer=stand_back)
        self._loaded: tuple[bytes, PictureLayers] | None = None

    def __repr__(self) -> str:
        loaded = self._loaded[0].hex() if self._loaded else "nothing"
        return f"<enhancer: {self.waiting} of {PLACES} places taken, {loaded} loaded>"

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self.waiting >= PLACES

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """From here on nobody else's picture is coded. Raises BusyError at once if too many wait for that."""
        if self.full:
            raise BusyError(f"{self.waiting} pictures are being coded or wait for it; ask again")
        self.waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self.waiting -= 1

    async def layers(
        self, container: Container, data: bytes, name: str, quality: int | None = None, known: Known | None = None
    ) -> list[Made]:
        """The enhancements of a frame up to the one with this name, those in the container or in `known` as they are.

        `data` is the compressed picture. Raises a MidstreamError that says why it cannot be had.
        """
        began = time.perf_counter()
        work = partial(self._layers, container, data, name, quality, known or {})
        made = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        if new := {each.name: len(each.layer.payload) for each in made if each.new}:
            self._meter.enhanced(new, time.perf_counter() - began)
        return made

    def close(self) -> None:
        """End the thread when it is done with what it is at; nobody waits for that."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- in the thread that codes

    def _layers(self, container: Container, data: bytes, name: str, quality: int | None, known: Known) -> list[Made]:
        layers = self._layers_of(container.bundle)
        below = [layer for layer in container.layers if layer.kind == Kind.BASE]
        sent = {layer.kind: layer.payload for layer in container.layers}
        pixels: NDArray[np.uint8] | None = None
        made: list[Made] = []
        for offer in _up_to(name, quality, layers):
            # Those below the one that is asked for are always those of the usual quality: one mask, whoever asks.
            wanted = quality if offer.name == name and quality else offer.default_quality
            payload = known.get((offer.kind, wanted))
            if payload is None and wanted == offer.default_quality:
                payload = sent.get(offer.kind)
            new = payload is None
            if payload is None:
                pixels = self._decoded(data) if pixels is None else pixels
                payload = layers.encode(offer.name, pixels, below, wanted).payload
            below.append(Layer(offer.kind, payload))
            made.append(Made(offer.name, below[-1], wanted, new))
        return made

    def _layers_of(self, prefix: bytes) -> PictureLayers:
        if self._loaded is None or self._loaded[0] != prefix:
            self._loaded = None  # first of all: two bundles' networks together take too much memory
            if (bundle := self.find(prefix)) is None:
                raise BundleGoneError(f"its bundle {prefix.hex()}… is gone: the edge runs another one by now")
            self._loaded = prefix, PictureLayers.open(bundle, self._threads)
        return self._loaded[1]

    def _decoded(self, data: bytes) -> NDArray[np.uint8]:
        header = picture.read_header(data, self._max_pixels)
        width, height = header.seen
        if width * height > MOST_PIXELS:
            raise NoLayerError(f"{width}x{height} pixels are more than the {MOST_PIXELS} coded; ask for the original")
        return picture.decode_whole(data, header)


def _up_to(name: str, quality: int | None, layers: PictureLayers) -> list[Offered]:
    """The layer that is asked for and those it builds on. Raises NoLayerError or RangeError."""
    for offer in layers.layers:
        if offer.name == name:
            if quality and quality not in offer.qualities:
                there = f"{offer.qualities[0]} to {offer.qualities[-1]}"
                raise RangeError(f"quality {quality} is none of layer {name}'s: {there}, or 0")
            return [below for below in layers.layers if below.kind <= offer.kind]
    raise NoLayerError(f"its codec has no layer {name!r}; it has {', '.join(offer.name for offer in layers.layers)}")
