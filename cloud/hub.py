"""Live results: whoever listens gets every result once, in order of number, however slow.

A listener has a short queue of what is being committed now. If it falls behind, the queue is emptied and it reads
the database from the last number it has seen, then joins again. So nothing is lost and nothing grows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from cloud.store import Filters, Record, Store

Event = tuple[int, bytes]
"""A result's number, and the result as it is sent."""

_QUEUE = 256
_PAGE = 200
_EVERYTHING = Filters()


class _Listener:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)
        self.behind = False

    def rejoin(self) -> None:
        self.behind = False
        while not self.queue.empty():
            self.queue.get_nowait()

    def offer(self, event: Event) -> None:
        if self.queue.full():
            self.behind = True
        else:
            self.queue.put_nowait(event)

    def fall_behind(self) -> None:
        self.behind = True
        with suppress(asyncio.QueueFull):
            self.queue.put_nowait(None)  # wakes it if it waits


class Hub:
    """`publish` after each commit; `follow` from any number."""

    def __init__(self, store: Store, render: Callable[[Record], bytes]) -> None:
        self._store = store
        self._render = render
        self._listeners: set[_Listener] = set()
        self._closed = False
        self._published = 0
        """The newest number that listeners know of; at first less than there is, so that they read what they missed."""

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def newest(self) -> int:
        """The number of the newest result: what is followed from there is what comes from now on."""
        return self._store.last_number

    def publish(self, records: list[Record]) -> None:
        """Hand what was just committed to all who listen, each rendered once."""
        newest = self.newest
        known = [record.number for record in records] == list(range(self._published + 1, newest + 1))
        events = [(record.number, self._render(record)) for record in records] if known and self._listeners else []
        self._published = newest  # not before all are rendered: where that fails, the next call sees a gap
        for listener in self._listeners:
            if not known:  # committed without our knowing, as when the connection was lost at the last moment
                listener.fall_behind()
            for event in events:
                listener.offer(event)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for listener in self._listeners:
            listener.fall_behind()

    async def follow(self, last: int, heartbeat: float) -> AsyncIterator[list[Event]]:
        """Everything beyond the number `last`; an empty list when nothing came for a while."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while not self._closed:
                listener.rejoin()
                # From here the queue collects what is committed; the database has everything before.
                async for events in self._stored(last):
                    last = events[-1][0]
                    yield events
                while not listener.behind:
                    events = [event for event in await _drain(listener, heartbeat) if event[0] > last]
                    last = events[-1][0] if events else last
                    yield events
        finally:
            self._listeners.discard(listener)

    async def _stored(self, last: int) -> AsyncIterator[list[Event]]:
        while not self._closed:
            records = await self._store.results(_EVERYTHING, _PAGE, newest_first=False, past=last)
            if not records:
                return
            last = records[-1].number
            yield [(record.number, self._render(record)) for record in records]


async def _drain(listener: _Listener, heartbeat: float) -> list[Event]:
    """Everything queued, waiting at most `heartbeat` seconds for the first."""
    events: list[Event] = []
    try:
        async with asyncio.timeout(heartbeat):
            event = await listener.queue.get()
    except TimeoutError:
        return events
    while event is not None:
        events.append(event)
        if listener.queue.empty():
            break
        event = listener.queue.get_nowait()
    return events
