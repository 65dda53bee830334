"""Originals that somebody asked for, as rows. The oldest give way."""

import hashlib
import time
from typing import Any

from sqlalchemy import Connection, delete, func, select

from cloud.store.tables import pictures


def columns(frame: str, layer: str, content_type: str, data: bytes) -> dict[str, Any]:
    """The row of a picture, fetched now."""
    return {
        "frame": frame,
        "layer": layer,
        "content_type": content_type,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "fetched_us": time.time_ns() // 1000,
        "data": data,
    }


def make_room(writer: Connection, size: int, max_bytes: int) -> None:
    """Delete the oldest, so that this many bytes more are at most `max_bytes`."""
    c = pictures.c
    held = writer.execute(select(func.coalesce(func.sum(c.size), 0))).scalar_one()
    excess = int(held) + size - max_bytes
    if excess <= 0:
        return
    for frame, layer, freed in writer.execute(select(c.frame, c.layer, c.size).order_by(c.fetched_us)).all():
        writer.execute(delete(pictures).where(c.frame == frame, c.layer == layer))
        excess -= freed
        if excess <= 0:
            return
