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
        self._published: int | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, records: list[Record]) -> None:
        """Hand what was just committed to all who listen, each rendered once."""
        newest = self._store.last_number
        numbers = [record.number for record in records]
        before = newest - len(numbers) if self._published is None else self._published
        self._published = newest
        if numbers != list(range(before + 1, newest + 1)):
            # Something was committed without our knowing, as when the connection was lost at the last moment.
            for listener in self._listeners:
                listener.fall_behind()
            return
        if not self._listeners:
            return
        for record in records:
            event = (record.number, self._render(record))
            for listener in self._listeners:
                listener.offer(event)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for listener in self._listeners:
            listener.fall_behind()

    async def follow(self, after: int | None, heartbeat: float) -> AsyncIterator[list[Event]]:
        """Everything beyond the number `after`, from now on if None; an empty list when nothing came for a while."""
        newest = self._store.last_number
        last = newest if after is None else min(after, newest)  # beyond the newest: it was another database's number
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
