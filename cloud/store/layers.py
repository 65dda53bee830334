"""Coded layers of recent frames. The oldest give way, to `max_bytes`; which those are, one index says.

Layers of one frame have one age, that of the newest, and go from the top: an enhancement without those it builds on
would only take room.
"""

import time
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_, update

from cloud.frame import Result
from cloud.offers import coded_layers
from cloud.store.tables import layers
from common.codec import Layer

_PAGE = 256
_ROOM = 64
"""One part in so many of all the room is freed at once, so that not every batch has to free some."""

Row = dict[str, Any]


class Freed(NamedTuple):
    """What was deleted."""

    number: int
    size: int


def upsert(insert: Any) -> Any:
    """The statement that keeps layers; one that comes again takes the place of the one before."""
    new = insert.excluded
    values = {"size": new.size, "kept_us": new.kept_us, "data": new.data}
    return insert.on_conflict_do_update(index_elements=["frame", "kind"], set_=values)


def rows(frame: str, came: Iterable[Layer]) -> list[Row]:
    """The rows of a frame's layers, kept now."""
    now = time.time_ns() // 1000
    return [
        {"frame": frame, "kind": int(x.kind), "size": len(x.payload), "kept_us": now, "data": x.payload} for x in came
    ]


def rows_of(results: Iterable[Result]) -> list[Row]:
    """The rows of what came with results."""
    return [row for result in results for row in rows(result.frame.id, coded_layers(result))]


def held(connection: Connection, *of: ColumnElement[bool]) -> int:
    """Bytes of those of which this holds; without, of all of them."""
    query = select(func.coalesce(func.sum(layers.c.size), 0)).where(*of)
    return int(connection.execute(query).scalar_one())


def of_frame(connection: Connection, frame: str, kinds: Collection[int]) -> list[Layer]:
    """Those of these kinds that are here, rising."""
    c = layers.c
    query = select(c.kind, c.data).where(c.frame == frame, c.kind.in_(kinds)).order_by(c.kind)
    return [Layer(kind, bytes(data)) for kind, data in connection.execute(query)]


def shed(writer: Connection, excess: int, max_bytes: int) -> int:
    """Delete the oldest, a little more than `excess` bytes of them; how many bytes."""
    wanted, freed = excess + max_bytes // _ROOM, 0
    while excess > 0 and freed < wanted:
        done = _delete_oldest(writer, _PAGE, enough=wanted - freed)
        if not done.number:
            break
        freed += done.size
    return freed


def has_above(writer: Connection, frame: str, kind: int) -> bool:
    """Whether there are layers of a frame that may have been coded upon this one."""
    c = layers.c
    return writer.execute(select(c.kind).where(c.frame == frame, c.kind > kind).limit(1)).first() is not None


def join(writer: Connection, frame: str, kind: int, kept_us: int) -> set[int]:
    """Make those of a frame below this kind as new as what comes with it; of which kinds they are."""
    c = layers.c
    there = writer.execute(select(c.kind).where(c.frame == frame, c.kind < kind)).scalars().all()
    writer.execute(update(layers).where(c.frame == frame, c.kind.in_(there)).values(kept_us=kept_us))
    return set(there)


def drop(writer: Connection, frame: str, kind: int) -> Freed:
    """Delete those of a frame of this kind and above: they build on it."""
    these = layers.c.frame == frame, layers.c.kind >= kind
    size = held(writer, *these)
    return Freed(int(writer.execute(delete(layers).where(*these)).rowcount), size)


def delete_older(writer: Connection, before_us: int, limit: int) -> Freed:
    """Delete at most `limit` of those kept before that time."""
    return _delete_oldest(writer, limit, before_us=before_us)


def _delete_oldest(writer: Connection, limit: int, *, enough: int | None = None, before_us: int | None = None) -> Freed:
    """Delete at most so many of the oldest, no more than it takes to free `enough` bytes."""
    c = layers.c
    oldest = select(c.frame, c.kind, c.size).order_by(c.kept_us, c.kind.desc()).limit(limit)
    if before_us is not None:
        oldest = oldest.where(c.kept_us < before_us)
    freed, gone = 0, []
    for frame, kind, size in writer.execute(oldest).all():
        gone.append((frame, kind))
        freed += size
        if enough is not None and freed >= enough:
            break
    if gone:
        writer.execute(delete(layers).where(tuple_(c.frame, c.kind).in_(gone)))
    return Freed(len(gone), freed)
