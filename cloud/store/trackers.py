"""Trackers beside the results they follow: what is known of each camera, kept in memory and written in the transaction
of the results, so that after a restart or a lost commit both are of one mind.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud import tracker
from cloud.frame import Result
from cloud.store import tracks as track_rows
from cloud.store.record import Record
from cloud.store.tables import sightings, trackers, tracks
from cloud.tracker import Followed, Following, Place

log = structlog.get_logger()

_CAMERAS = 1000
"""Whose state is held in memory, some 100 KB each at the most; that of others is read when they send."""


class Trackers:
    """`open` it with the database; `follow` results, `write` what came of it, and `keep` it after the commit."""

    def __init__(self, insert: Any, sure: float) -> None:
        """`insert` is the dialect's; detections from the score `sure` begin tracks."""
        self._sure = sure
        self._put_tracks = track_rows.upsert(insert(tracks))
        self._put_trackers = _upsert(insert(trackers))
        self._known: OrderedDict[Place, Following] = OrderedDict()
        self._next_id = 1

    async def open(self, connection: AsyncConnection) -> None:
        """Forget what is in memory; ids go on from the highest that was ever given."""
        self._known.clear()
        highest = (await connection.execute(select(func.max(trackers.c.last_track)))).scalar()
        self._next_id = (highest or 0) + 1

    async def follow(self, connection: AsyncConnection, results: Sequence[Result]) -> Followed:
        """Which of the detections are which tracks. Nothing is changed yet."""
        places = dict.fromkeys(tracker.place(result) for result in results)
        known = {place: await self._of(connection, place) for place in places}
        try:
            # In a thread: many frames may have been waiting, and the loop has others to serve.
            return await asyncio.to_thread(tracker.follow, known, results, self._next_id, self._sure)
        except Exception:  # whatever is wrong with tracking, results are stored
            log.exception("tracking failed; these cameras' tracks begin anew", places=list(places))
            return Followed([[] for _ in results], dict.fromkeys(places, Following()), self._next_id)

    async def write(
        self, connection: AsyncConnection, followed: Followed, rows: Sequence[Record], stored: Collection[int]
    ) -> None:
        """Write the tracks, where they were seen, and the trackers' state.

        `rows` are what the results became, `stored` the numbers of those that are in the database now.
        """
        found = [pair for pair in zip(rows, followed.sightings, strict=True) if pair[0].number in stored]
        if any(seen for _, seen in found):
            await connection.execute(self._put_tracks, track_rows.summed(found))
            await connection.execute(sightings.insert(), track_rows.seen(found))
        changed = [place for place, now in followed.known.items() if len(now.state) or self._has_tracks(place)]
        if changed:
            values = {"last_track": followed.next_id - 1}
            texts = [{"edge": e, "camera": c, "state": followed.known[e, c].to_text()} for e, c in sorted(changed)]
            await connection.execute(self._put_trackers, [values | text for text in texts])

    def keep(self, followed: Followed) -> None:
        """After the commit."""
        self._next_id = followed.next_id
        for place, now in followed.known.items():
            self._known[place] = now
            self._known.move_to_end(place)
        while len(self._known) > _CAMERAS:
            self._known.popitem(last=False)

    def _has_tracks(self, place: Place) -> bool:
        return place in self._known and len(self._known[place].state) > 0

    async def _of(self, connection: AsyncConnection, place: Place) -> Following:
        if place not in self._known:
            c = trackers.c
            query = select(c.state).where(c.edge == place[0], c.camera == place[1])
            text = (await connection.execute(query)).scalar()
            self._known[place] = Following.from_text(text) if text else Following()
        return self._known[place]


def _upsert(insert: Any) -> Any:
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["edge", "camera"], set_={"state": new.state, "last_track": new.last_track}
    )
