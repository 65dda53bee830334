"""The running sums of cameras, and the best score of each label in a frame: what spares pages and filters a count."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import case

from cloud.frame import Result
from cloud.store.record import Camera, Record, best_by_label
from cloud.store.tables import cameras


def camera(name: str, edge: str, frames: int, coded: int, first_us: int, last_us: int, *last: Any) -> Camera:
    """A row of `cameras` joined with that of its newest result."""
    return Camera(name, edge, frames, coded, first_us, last_us, Record(*last) if last[0] is not None else None)


def labels(new: Iterable[tuple[Result, Record]]) -> list[dict[str, Any]]:
    """The rows of `found` for new results and theirs."""
    return [
        {"label": label, "number": row.number, "score": score}
        for result, row in new
        for label, score in best_by_label(result.detections).items()
    ]


def of(new: list[Record]) -> list[dict[str, Any]]:
    """What a batch adds to the running sums, in one order always, so that two writers cannot lock each other."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for row in new:
        one = sums.setdefault(
            (row.edge, row.camera),
            {
                "edge": row.edge,
                "camera": row.camera,
                "frames": 0,
                "coded_bytes": 0,
                "first_us": row.captured_us,
                "last_us": row.captured_us,
            },
        )
        one["frames"] += 1
        one["coded_bytes"] += row.coded_bytes
        one["first_us"] = min(one["first_us"], row.captured_us)
        one["last_us"] = max(one["last_us"], row.captured_us)
        one["last_number"] = row.number
    return [sums[name] for name in sorted(sums)]


def upsert(insert: Any) -> Any:
    """The statement that adds to a camera's sums."""
    c, new = cameras.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["edge", "camera"],
        set_={
            "frames": c.frames + new.frames,
            "coded_bytes": c.coded_bytes + new.coded_bytes,
            "first_us": case((new.first_us < c.first_us, new.first_us), else_=c.first_us),
            "last_us": case((new.last_us > c.last_us, new.last_us), else_=c.last_us),
            "last_number": new.last_number,
        },
    )
