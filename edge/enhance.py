"""Enhancements, coded when somebody asks: the kept picture and the frame as it was sent → the layers above its base.

A thread of its own does it, at low priority and one picture at a time, so that the frames that come meanwhile are as
quick as before. What waits is bounded: beyond it, whoever asks is told to ask again.

The networks of the two bundles used last stay loaded: cameras may have codecs of their own, but what is asked for
within a while is nearly always of one or two. A frame of any bundle is coded with it, as long as the edge has it on
disk.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import Container, Layer
from common.codec.container import Kind
from common.errors import MidstreamError
from common.layers import BASE, meant, quality_of
from common.network.priority import stand_back
from common.scalable.pictures import Offered, PictureLayers, most_pixels
from common.scalable.regions import Region
from edge import picture
from edge.meter import Meter

PLACES = 8
"""Pictures that are coded or wait for it; each one more is refused."""
LOADED = 2
"""Bundles whose networks stay in memory."""

Known = Mapping[tuple[int, int], bytes]
"""Enhancements of a frame that were coded before, by kind and quality."""


class BusyError(MidstreamError):
    """As many pictures wait as may."""


class NoLayerError(MidstreamError):
    """The frame has no such layer."""


class RangeError(MidstreamError):
    """The layer has no such quality or no such part."""


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
        self._loaded: OrderedDict[bytes, PictureLayers] = OrderedDict()

    def __repr__(self) -> str:
        loaded = ", ".join(prefix.hex() for prefix in self._loaded) or "nothing"
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

        `data` is the compressed picture. `base` and `full` may mean others (common/layers.py); for a base layer that
        is a picture itself there are none. Raises a MidstreamError that says why it cannot be had.
        """
        began = time.perf_counter()
        work = partial(self._layers, container, data, name, quality, known or {})
        made = await asyncio.get_running_loop().run_in_executor(self._pool, work)
        if new := {each.name: len(each.layer.payload) for each in made if each.new}:
            self._meter.enhanced(new, time.perf_counter() - began)
        return made

    async def cut(self, container: Container, made: Made, regions: Sequence[Region]) -> Layer:
        """What these regions of the picture need of a layer. Raises RangeError if it is not coded in tiles, or they lie
        outside, and BundleGoneError.
        """
        work = partial(self._cut, container, made, tuple(regions))
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """End the thread when it is done with what it is at; nobody waits for that."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- in the thread that codes

    def _layers(self, container: Container, data: bytes, name: str, quality: int | None, known: Known) -> list[Made]:
        layers = self._layers_of(container.bundle)
        below = [layer for layer in container.layers if layer.kind == Kind.BASE]
        sent = {(layer.kind, quality_of(layer)): layer.payload for layer in container.layers}
        steps = _up_to(name, quality, layers)
        most = min((most_pixels(offer.name) for offer, _ in steps), default=0)
        pixels: NDArray[np.uint8] | None = None
        made: list[Made] = []
        new = False
        for offer, wanted in steps:
            # What is coded upon something new is new itself: it fits no other bytes.
            payload = None if new else known.get((offer.kind, wanted)) or sent.get((offer.kind, wanted))
            new = payload is None
            if payload is None:
                pixels = self._decoded(data, most) if pixels is None else pixels
                payload = layers.encode(offer.name, pixels, below, wanted).payload
            below.append(Layer(offer.kind, payload))
            made.append(Made(offer.name, below[-1], wanted, new))
        return made

    def _cut(self, container: Container, made: Made, regions: tuple[Region, ...]) -> Layer:
        layers = self._layers_of(container.bundle)
        if not layers.layer(made.name).tiled:
            raise RangeError(f"layer {made.name!r} of this frame is not coded in tiles: there are no parts of it")
        try:
            return layers.cut(made.layer, regions, container.width, container.height)
        except ValueError as e:
            raise RangeError(str(e)) from e

    def _layers_of(self, prefix: bytes) -> PictureLayers:
        if prefix not in self._loaded:
            if (bundle := self.find(prefix)) is None:
                raise BundleGoneError(f"its bundle {prefix.hex()}… is gone: the edge runs another one by now")
            while len(self._loaded) >= LOADED:  # first of all: more bundles' networks together take too much memory
                self._loaded.popitem(last=False)
            self._loaded[prefix] = PictureLayers.open(bundle, self._threads)
        self._loaded.move_to_end(prefix)
        return self._loaded[prefix]

    def _decoded(self, data: bytes, most: int) -> NDArray[np.uint8]:
        """A picture of at most so many pixels. Raises NoLayerError."""
        header = picture.read_header(data, self._max_pixels)
        width, height = header.seen
        if width * height > most:
            raise NoLayerError(f"{width}x{height} pixels are more than the {most} coded; ask for the original")
        return picture.decode_whole(data, header)


def _up_to(name: str, quality: int | None, layers: PictureLayers) -> list[tuple[Offered, int]]:
    """The layer that is asked for and those it builds on, each with its quality. Raises NoLayerError or RangeError."""
    there = {offer.name: offer for offer in layers.layers}
    if name == BASE and layers.previews:
        return []
    top = there.get(meant(name, there))
    if top is None:
        raise NoLayerError(f"its codec has no layer {name!r}; it has {', '.join(there)}")
    wanted = quality or top.default_quality
    # A layer in tiles and what is below it are of one quality. What is below another is always of the usual one: one
    # mask, whoever asks.
    below = [offer for offer in layers.layers if offer.kind < top.kind]
    all_of_it = [*((offer, wanted if top.tiled else offer.default_quality) for offer in below), (top, wanted)]
    for offer, each in all_of_it:
        if each not in offer.qualities:
            there_are = f"{offer.qualities[0]} to {offer.qualities[-1]}"
            raise RangeError(f"quality {each} is none of layer {offer.name}'s: {there_are}, or 0")
    return all_of_it
