"""Trackers beside the results they follow: what is known of each camera, kept in memory and written in the transaction
of the results, so that after a restart or a lost commit both are of one mind.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, func, select

from cloud import tracker
from cloud.frame import Result
from cloud.store import tracks as track_rows
from cloud.store.many import Many
from cloud.store.record import Record
from cloud.store.tables import sightings, trackers, tracks
from cloud.tracker import Followed, Following, Place

log = structlog.get_logger()

_CAMERAS = 1000
"""Whose state is held in memory, some 100 KB each at the most; that of others is read when they send."""


class Trackers:
    """`open` it with the database; `follow` results, `write` what came of it, and `keep` it after the commit."""

    def __init__(self, insert: Any, many: Callable[[Any], Many], sure: float) -> None:
        """`insert` and `many` are of the dialect; detections from the score `sure` begin tracks."""
        self._sure = sure
        self._put_tracks = many(track_rows.upsert(insert(tracks)))
        self._put_sightings = many(insert(sightings))
        self._put_trackers = many(_upsert(insert(trackers)))
        self._known: OrderedDict[Place, Following] = OrderedDict()
        self._next_id = 1

    def open(self, connection: Connection) -> None:
        """Forget what is in memory; ids go on from the highest that was ever given."""
        self._known.clear()
        given = [connection.execute(select(func.max(c))).scalar() or 0 for c in (trackers.c.last_track, tracks.c.id)]
        self._next_id = max(given) + 1

    def follow(self, connection: Connection, results: Sequence[Result]) -> Followed:
        """Which of the detections are which tracks. Nothing is changed yet."""
        places = dict.fromkeys(tracker.place(result) for result in results)
        known = {place: self._of(connection, place) for place in places}
        return tracker.follow(known, results, self._next_id, self._sure)

    def write(self, connection: Connection, followed: Followed, rows: Sequence[Record]) -> None:
        """Write the tracks, where they were seen, and the trackers' state. `rows` are what the results became."""
        found = list(zip(rows, followed.sightings, strict=True))
        self._put_tracks.run(connection, track_rows.summed(found))
        self._put_sightings.run(connection, track_rows.seen(found))
        seen = {(row.edge, row.camera) for row, sighted in found if sighted}  # perhaps of what has gone again since
        known = followed.known.items()
        changed = sorted(place for place, now in known if place in seen or len(now.state) or self._has_tracks(place))
        texts = [{"edge": e, "camera": c, "state": followed.known[e, c].to_text()} for e, c in changed]
        self._put_trackers.run(connection, [{"last_track": followed.next_id - 1} | text for text in texts])

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

    def _of(self, connection: Connection, place: Place) -> Following:
        if place not in self._known:
            c = trackers.c
            query = select(c.state).where(c.edge == place[0], c.camera == place[1])
            self._known[place] = _read(place, connection.execute(query).scalar())
        return self._known[place]


def _read(place: Place, text: str | None) -> Following:
    try:
        return Following.from_text(text) if text else Following()
    except Exception:  # whatever stands there, results are stored, and other cameras' tracks go on
        log.exception("a tracker cannot be read; this camera's tracks begin anew", edge=place[0], camera=place[1])
        return Following()


def _upsert(insert: Any) -> Any:
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["edge", "camera"], set_={"state": new.state, "last_track": new.last_track}
    )
