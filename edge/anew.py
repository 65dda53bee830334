"""A frame whose reference the cloud does not hold, coded again, alone, of the picture in the ring."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from common.bundle import Bundle
from common.codec.container import Kind, pack, unpack
from common.errors import MidstreamError
from common.types import Mode
from edge.encode import Encoder
from edge.points import Point
from edge.spool import Pending, Spool
from edge.strangers import prefix_of


class AnewError(MidstreamError):
    """The frame cannot be coded again."""


class Again:
    """Frames of one stream that are to be coded anew. Until they are sent no others are, so that all stay in order."""

    def __init__(self) -> None:
        self.none = asyncio.Event()
        """Set while there are none."""
        self.none.set()
        self._some = asyncio.Event()
        self._frames: list[Pending] = []

    def add(self, frame: Pending) -> None:
        """The cloud waits for this one."""
        self._frames.append(frame)
        self._some.set()
        self.none.clear()

    async def next(self, in_flight: Mapping[int, Pending], returned: asyncio.Event) -> list[Pending]:
        """Those there are, in order, when nothing of their cameras is in flight any more; `returned` tells of answers.

        The cloud takes nothing of a camera until the frame comes that it waits for, so all of that comes back.
        """
        await self._some.wait()
        while {frame.camera for frame in self._frames} & {frame.camera for frame in in_flight.values()}:
            returned.clear()
            await returned.wait()
        frames, self._frames = sorted(self._frames, key=lambda frame: frame.seq), []
        self._some.clear()
        return frames

    def sent(self) -> None:
        """What `next` gave is on its way."""
        if not self._frames:
            self.none.set()


class Anew:
    """`payload = await anew.coded(frame)`: the container that goes in place of the one that could not be decoded."""

    def __init__(
        self,
        spool: Spool,
        find: Callable[[bytes], Bundle | None],
        load: Callable[[Bundle], Awaitable[Encoder]],
    ) -> None:
        self._spool = spool
        self._find = find
        """The bundle with this prefix, if the edge has it."""
        self._load = load

    async def coded(self, frame: Pending) -> bytes:
        """Raises a MidstreamError that says why it cannot be had."""
        kept = await self._spool.picture(frame.frame_id)
        if kept.gone:
            raise AnewError(f"its picture is gone: {kept.gone}")
        if (bundle := await asyncio.to_thread(self._find, prefix_of(frame.payload))) is None:
            raise AnewError("its bundle is gone: the edge runs another one by now")
        return await asyncio.to_thread(partial(alone, await self._load(bundle), kept.data, frame.payload))


def alone(encoder: Encoder, data: bytes, payload: bytes) -> bytes:
    """The container with another base layer: of the same picture at the same quality, coded alone.

    Raises FrameError, BundleError or BitstreamError.
    """
    whole = unpack(payload)
    point = Point(Mode.SPLIT, whole.quality)
    base = unpack(encoder.encode(data, point).container).layers[0]
    layers = [base, *(layer for layer in whole.layers if layer.kind != Kind.BASE)]
    return pack(replace(whole, layers=layers, keyframe=True))
