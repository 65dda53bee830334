"""Deleting results that are too old, with all that belongs to them.

They go in the order of their numbers, which is the order of each epoch's packets. So one number for each epoch, the
highest seq deleted, says of every packet that is sent again whether it had its result once.
"""

from typing import Any

from sqlalchemy import Connection, case, delete, select

from cloud.store import layers as layer_rows
from cloud.store import tracks as track_rows
from cloud.store.record import Record
from cloud.store.tables import aged, found, layers, pictures, results

Epoch = tuple[str, str]
"""(edge, epoch)"""


def far(connection: Connection) -> dict[Epoch, int]:
    """How far each epoch's results have been deleted."""
    rows = connection.execute(select(aged.c.edge, aged.c.epoch, aged.c.seq))
    return {(edge, epoch): seq for edge, epoch, seq in rows}


def upsert(insert: Any) -> Any:
    """The statement that notes how far."""
    new = insert.excluded
    higher = case((new.seq > aged.c.seq, new.seq), else_=aged.c.seq)
    return insert.on_conflict_do_update(index_elements=["edge", "epoch"], set_={"seq": higher})


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
    writer.execute(note, [{"edge": e, "epoch": p, "seq": s} for (e, p), s in sorted(highest(rows).items())])
    return rows, freed


def highest(rows: list[Record]) -> dict[Epoch, int]:
    """The highest seq of each epoch."""
    tops: dict[Epoch, int] = {}
    for row in rows:
        tops[row.edge, row.epoch] = max(row.seq, tops.get((row.edge, row.epoch), -1))
    return tops
