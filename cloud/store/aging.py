"""Deleting results that are too old, with all that belongs to them.

They go in the order of their numbers, which is the order of each camera's packets in an epoch; those of other cameras
may have come before. So one number for each camera, the highest seq deleted, says of every packet that is sent again
whether it had its result once.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, case, delete, select

from cloud.frame import Frame
from cloud.store import layers as layer_rows
from cloud.store import tracks as track_rows
from cloud.store.record import Record
from cloud.store.tables import aged, found, layers, pictures, results

Of = tuple[str, str, str]
"""(edge, epoch, camera); an empty camera stands for all."""


def far(connection: Connection) -> dict[Of, int]:
    """How far each camera's results have been deleted."""
    rows = connection.execute(select(aged.c.edge, aged.c.epoch, aged.c.camera, aged.c.seq))
    return {(edge, epoch, camera): seq for edge, epoch, camera, seq in rows}


def reached(aged: Mapping[Of, int], frame: Frame) -> bool:
    """Whether the frame's result, had it one, has been deleted."""
    edge, epoch, seq = frame.key
    return seq <= max(aged.get((edge, epoch, camera), -1) for camera in (frame.camera, ""))


def upsert(insert: Any) -> Any:
    """The statement that notes how far."""
    new = insert.excluded
    higher = case((new.seq > aged.c.seq, new.seq), else_=aged.c.seq)
    return insert.on_conflict_do_update(index_elements=["edge", "epoch", "camera"], set_={"seq": higher})


def remove(writer: Connection, note: Any, before_us: int, below: int, limit: int) -> tuple[list[Record], int]:
    """Delete at most `limit` results stored before that time, with numbers below `below`; what was deleted, and how
    many bytes of layers with it.
    """
    # By number, which is indexed; the time of storing rises with it.
    oldest = select(results).where(results.c.number < below).order_by(results.c.number).limit(limit)
    rows = []
    for row in writer.execute(oldest).all():
        if row.stored_us >= before_us:
            break
        rows.append(Record(*row))
    if not rows:
        return [], 0
    last = rows[-1].number
    labels = {d["label"] for row in rows for d in row.found()}  # the index of `found` begins with the label
    writer.execute(delete(found).where(found.c.label.in_(labels), found.c.number <= last))
    frames = [row.id for row in rows]
    freed = layer_rows.held(writer, layers.c.frame.in_(frames))
    for pixels in (pictures, layers):
        writer.execute(delete(pixels).where(pixels.c.frame.in_(frames)))
    track_rows.remove(writer, last)
    writer.execute(delete(results).where(results.c.number <= last))
    tops = sorted(highest(rows).items())
    writer.execute(note, [{"edge": e, "epoch": p, "camera": c, "seq": s} for (e, p, c), s in tops])
    return rows, freed


def highest(rows: list[Record]) -> dict[Of, int]:
    """The highest seq of each camera in an epoch."""
    tops: dict[Of, int] = {}
    for row in rows:
        of = row.edge, row.epoch, row.camera
        tops[of] = max(row.seq, tops.get(of, -1))
    return tops
