"""Coded layers of recent frames. The oldest give way, to `max_bytes`; which those are, one index says."""

import time
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.frame import Result
from cloud.offers import coded_layers
from cloud.store.tables import layers
from common.codec import Layer

_PAGE = 256
_ROOM = 64
"""One part in so many of all the room is freed at once, so that not every batch has to free some."""

Row = dict[str, Any]


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


async def held(connection: AsyncConnection) -> int:
    """Bytes of all of them."""
    query = select(func.coalesce(func.sum(layers.c.size), 0))
    return int((await connection.execute(query)).scalar_one())


async def of_frame(connection: AsyncConnection, frame: str, kinds: Collection[int]) -> list[Layer]:
    """Those of these kinds that are here, rising."""
    c = layers.c
    query = select(c.kind, c.data).where(c.frame == frame, c.kind.in_(kinds)).order_by(c.kind)
    return [Layer(kind, bytes(data)) for kind, data in await connection.execute(query)]


async def shed(writer: AsyncConnection, excess: int, max_bytes: int) -> int:
    """Delete the oldest, a little more than `excess` bytes of them; how many bytes."""
    wanted, freed = excess + max_bytes // _ROOM, 0
    while excess > 0 and freed < wanted:
        done = await _delete_oldest(writer, wanted - freed)
        if not done:
            break
        freed += done
    return freed


async def _delete_oldest(writer: AsyncConnection, wanted: int) -> int:
    """Delete at most a page of the oldest, no more than it takes; how many bytes."""
    c = layers.c
    freed = 0
    gone = []
    for frame, kind, size in await writer.execute(select(c.frame, c.kind, c.size).order_by(c.kept_us).limit(_PAGE)):
        gone.append((frame, kind))
        freed += size
        if freed >= wanted:
            break
    if gone:
        await writer.execute(delete(layers).where(tuple_(c.frame, c.kind).in_(gone)))
    return freed


async def drop(writer: AsyncConnection, frame: str, kinds: Collection[int]) -> int:
    """Delete those of a frame; how many."""
    c = layers.c
    return int((await writer.execute(delete(layers).where(c.frame == frame, c.kind.in_(kinds)))).rowcount)


async def drop_above(writer: AsyncConnection, frame: str, kind: int) -> None:
    """Delete those of a frame above this kind."""
    await writer.execute(delete(layers).where(layers.c.frame == frame, layers.c.kind > kind))


async def delete_older(writer: AsyncConnection, before_us: int, limit: int) -> int:
    """Delete at most `limit` of those kept before that time; how many."""
    c = layers.c
    old = select(c.frame, c.kind).where(c.kept_us < before_us).order_by(c.kept_us).limit(limit)
    gone = [tuple(row) for row in await writer.execute(old)]
    if gone:
        await writer.execute(delete(layers).where(tuple_(c.frame, c.kind).in_(gone)))
    return len(gone)
