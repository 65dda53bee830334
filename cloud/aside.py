"""What edges send on its way to the store, and layers that cannot stand there beside what is there.

Tiles are joined with those that are here of the same layer, if they were coded upon the same.

Other layers are here for those who asked for them: a mask in a better quality than the one that the frame's full
picture builds on. In its place it would take that picture away, which whoever looks at it would send for again, with
the mask it needs, and so on for ever.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import structlog

from cloud.frame import Coded, Pixels
from cloud.replies import MAX_BYTES, Fits, Wish, damaged
from cloud.store import Store
from cloud.tiles import Tiles
from common.codec import Layer
from common.codec.container import Kind
from common.errors import BitstreamError
from common.layers import checksum, quality_of

_MAX_BYTES = MAX_BYTES
"""Of all of them. The largest that an edge can send has room, so nobody asks for the same thing for ever."""

_MOST_CROWDED = 1000

Key = tuple[str, int]
"""(frame, kind)"""

log = structlog.get_logger()


class Aside:
    """What the store does not take, in memory; the oldest give way."""

    def __init__(self, store: Store, tiles: Tiles) -> None:
        self._store = store
        self._tiles = tiles
        self._keeping = asyncio.Lock()
        self._held: OrderedDict[Key, Layer] = OrderedDict()
        self._crowded: OrderedDict[tuple[Key, int], None] = OrderedDict()
        """Layers by their quality whose tiles were too many bytes together."""

    async def keep(self, wish: Wish, came: Pixels) -> None:
        """Keep what an edge sent in the store if it can stand there. Raises StoreError, ReplyError if it is damaged."""
        if not isinstance(came, Coded) or wish.fits is None:
            await self._store.keep(wish.frame, came)
        elif wish.fits.tiled:
            async with self._keeping:  # nobody else changes what it is joined with
                await self._join(wish, wish.fits, came)
        else:
            async with self._keeping:
                if not await self._store.keep(wish.frame, came, wish.fits.needed(came.layers)):
                    self._put(wish.frame, came.layers[-1])

    async def _join(self, wish: Wish, fits: Fits, came: Coded) -> None:
        *below, last = came.layers
        held = await self._store.layers(wish.frame, fits.kinds)
        known = checksum(_below(held, last))
        if len(came.layers) < len(fits.kinds) and known != wish.below:
            log.info("tiles not kept: what they were coded upon is here no more", frame=wish.frame, layer=wish.layer)
            return
        # Without what is below them, they are upon the same: that was asked for.
        here = [layer for layer in held if layer.kind == last.kind and quality_of(layer) == quality_of(last)]
        if below and checksum(_below(below, last)) != known:
            here = []
        try:
            joined = await self._tiles.joined(fits.bundle, (*here, last), (fits.width, fits.height))
        except BitstreamError as e:
            raise damaged(str(e)) from e
        if here and joined is last:
            self._crowded[(wish.frame, last.kind), quality_of(last)] = None
            while len(self._crowded) > _MOST_CROWDED:
                self._crowded.popitem(last=False)
        await self._store.keep(wish.frame, Coded((*below, joined)), fits.needed(came.layers))

    def crowded(self, frame: str, layer: Layer) -> bool:
        """Whether tiles of this layer had no room beside others: of what is wanted then, all must come together."""
        return ((frame, layer.kind), quality_of(layer)) in self._crowded

    def better(self, frame: str, held: Sequence[Layer], quality: int) -> tuple[Layer, ...] | None:
        """The layers that are held of a frame with the last in at least this quality, if that one is here."""
        last = self._held.get((frame, held[-1].kind))
        return (*held[:-1], last) if last is not None and quality_of(last) >= quality else None

    def drop(self, frame: str, kinds: Sequence[int]) -> None:
        """Forget what cannot be decoded."""
        for kind in kinds:
            self._held.pop((frame, kind), None)

    def _put(self, frame: str, layer: Layer) -> None:
        self.drop(frame, [layer.kind])
        self._held[frame, layer.kind] = layer
        while sum(len(each.payload) for each in self._held.values()) > _MAX_BYTES:
            self._held.popitem(last=False)


def _below(layers: Sequence[Layer], last: Layer) -> list[Layer]:
    """Those between the base layer and this one."""
    return [layer for layer in layers if Kind.BASE < layer.kind < last.kind]
