"""Filters as SQL."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, select

from cloud.store.tables import found, results


@dataclass(frozen=True, slots=True)
class Filters:
    """Which frames: all conditions hold; within one, any of the values. Times are Unix microseconds, `until` excluded.

    With `labels` or `min_score`, the frames that hold at least one such detection.
    """

    cameras: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    min_score: float | None = None
    since_us: int | None = None
    until_us: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What goes into the WHERE."""
        c = results.c
        wanted: list[ColumnElement[bool]] = []
        if self.cameras:
            wanted.append(c.camera.in_(self.cameras))
        if self.edges:
            wanted.append(c.edge.in_(self.edges))
        if self.since_us is not None:
            wanted.append(c.captured_us >= self.since_us)
        if self.until_us is not None:
            wanted.append(c.captured_us < self.until_us)
        if self.labels:
            wanted.append(self._holds_label())
        elif self.min_score is not None:  # 0 is the best score of frames without detections, too
            wanted.append(c.best_score >= self.min_score if self.min_score else c.detections != "[]")
        return wanted

    def _holds_label(self) -> ColumnElement[bool]:
        inside = [found.c.number == results.c.number, found.c.label.in_(self.labels)]
        if self.min_score is not None:
            inside.append(found.c.score >= self.min_score)
        return exists(select(found.c.number).where(*inside))

    def matches(self, detection: dict[str, Any]) -> bool:
        """Whether one detection is among those asked for."""
        return (not self.labels or detection["label"] in self.labels) and detection["score"] >= (self.min_score or 0)


def page(filters: Filters, limit: int, *, newest_first: bool, past: int | None, upto: int | None) -> Select[Any]:
    """At most `limit` results beyond the number `past`, none above `upto`."""
    number = results.c.number
    query = select(results).where(*filters.conditions()).limit(limit)
    if upto is not None:
        query = query.where(number <= upto)
    if newest_first:
        return (query if past is None else query.where(number < past)).order_by(number.desc())
    return (query if past is None else query.where(number > past)).order_by(number)
