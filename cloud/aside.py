"""Layers that cannot stand in the store beside what is there, for those who asked for them.

A mask in a better quality than the one that the frame's full picture builds on: in its place it would take that
picture away, which whoever looks at it would send for again, with the mask it needs, and so on for ever.
"""

from collections import OrderedDict
from collections.abc import Sequence

from cloud.frame import Coded, Pixels
from cloud.replies import MAX_BYTES, quality_of
from cloud.store import Store
from common.codec import Layer

_MAX_BYTES = MAX_BYTES
"""Of all of them. The largest that an edge can send has room, so nobody asks for the same thing for ever."""

Key = tuple[str, int]
"""(frame, kind)"""


class Aside:
    """What the store does not take, in memory; the oldest give way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[Key, Layer] = OrderedDict()

    async def keep(self, frame: str, came: Pixels) -> None:
        """Keep what an edge sent in the store if it can stand there. Raises StoreError."""
        if not await self._store.keep(frame, came) and isinstance(came, Coded):
            self._put(frame, came.layers[-1])

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
