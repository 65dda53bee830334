"""Tracks as rows, and where they were seen."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, case, delete, func, select

from cloud.store.query import Filters
from cloud.store.record import Point, Record, to_json
from cloud.store.tables import results, sightings, tracks
from cloud.tracker import Sighting, Votes, label

Found = Iterable[tuple[Record, list[Sighting]]]
"""Results and what was seen of tracks in them."""


def upsert(insert: Any) -> Any:
    """The statement that adds sightings to a track, or begins it."""
    c, new = tracks.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "label": new.label,
            "votes": new.votes,
            "first_us": case((new.first_us < c.first_us, new.first_us), else_=c.first_us),
            "last_us": case((new.last_us > c.last_us, new.last_us), else_=c.last_us),
            "frames": c.frames + new.frames,
            "best_score": case((new.best_score > c.best_score, new.best_score), else_=c.best_score),
            "last_number": new.last_number,
        },
    )


def summed(found: Found) -> list[dict[str, Any]]:
    """What results add to their tracks, a row for each track."""
    sums: dict[int, dict[str, Any]] = {}
    votes: dict[int, Votes] = {}
    for row, sighted in found:
        for one in sighted:
            _add(sums, row, one)
            votes[one.track] = one.votes
    return [sums[i] | {"label": label(votes[i]), "votes": to_json(votes[i])} for i in sorted(sums)]


def _add(sums: dict[int, dict[str, Any]], row: Record, one: Sighting) -> None:
    at_us, score = row.captured_us, one.detection.score
    if one.track not in sums:
        place = {"id": one.track, "edge": row.edge, "camera": row.camera}
        sums[one.track] = place | {"first_us": at_us, "last_us": at_us, "frames": 0, "best_score": score}
    mine = sums[one.track]
    mine["first_us"] = min(mine["first_us"], at_us)
    mine["last_us"] = max(mine["last_us"], at_us)
    mine["frames"] += 1
    mine["best_score"] = max(mine["best_score"], score)
    mine["last_number"] = row.number


def seen(found: Found) -> list[dict[str, Any]]:
    """The rows of `sightings`."""
    rows = []
    for row, sighted in found:
        for one in sighted:
            x1, y1, x2, y2 = one.detection.box
            score = one.detection.score
            rows.append(
                {"track": one.track, "number": row.number, "score": score, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
            )
    return rows


def page(filters: Filters, limit: int, *, newest_first: bool, past: int | None) -> Select[Any]:
    """At most `limit` tracks beyond the id `past`, of those that were in sight at some time between the two times."""
    c = tracks.c
    query = select(tracks).limit(limit)
    if filters.cameras:
        query = query.where(c.camera.in_(filters.cameras))
    if filters.edges:
        query = query.where(c.edge.in_(filters.edges))
    if filters.labels:
        query = query.where(c.label.in_(filters.labels))
    if filters.min_score is not None:
        query = query.where(c.best_score >= filters.min_score)
    if filters.since_us is not None:
        query = query.where(c.last_us >= filters.since_us)
    if filters.until_us is not None:
        query = query.where(c.first_us < filters.until_us)
    if newest_first:
        return (query if past is None else query.where(c.id < past)).order_by(c.id.desc())
    return (query if past is None else query.where(c.id > past)).order_by(c.id)


def path(connection: Connection, track: int, limit: int) -> list[Point]:
    """Where a track was, in the order of the results: at most `limit` points, evenly spread, the last among them."""
    c = sightings.c
    count = connection.execute(select(func.count()).where(c.track == track)).scalar_one()
    stride = -(-count // limit) or 1
    place = func.row_number().over(order_by=c.number.desc()).label("place")
    own = select(c.number, c.score, c.x1, c.y1, c.x2, c.y2, place).where(c.track == track).subquery()
    rows = connection.execute(
        select(results.c.id, results.c.captured_us, *(own.c[name] for name in ("score", "x1", "y1", "x2", "y2")))
        .join_from(own, results, own.c.number == results.c.number)
        .where((own.c.place - 1) % stride == 0)
        .order_by(own.c.number)
    )
    return [Point(frame, at_us, score, (x1, y1, x2, y2)) for frame, at_us, score, x1, y1, x2, y2 in rows]


def remove(writer: Connection, last: int) -> None:
    """Delete what belongs to results up to this number; a track goes with the last of its results."""
    writer.execute(delete(sightings).where(sightings.c.number <= last))
    writer.execute(delete(tracks).where(tracks.c.last_number <= last))
