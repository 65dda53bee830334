"""Which parts of a picture are wanted: where somebody says, or where something was found."""

import re
from collections.abc import Iterable
from math import ceil, floor
from typing import Any

from cloud.replies import Refusal
from cloud.store import Found, Record
from common.layers import MOST_REGIONS
from common.scalable.regions import Region

Regions = tuple[Region, ...]
_PLACE = re.compile(",".join([r"(-?[0-9]{1,9})"] * 4))
_PART = 8
_LEAST = 8
"""A box is made larger by one part in so many of its width and height on each side, and by so many pixels at the least:
it is drawn about what was found, and where a region ends it fades into what is below.
"""


def wanted(roi: str, row: Record, min_score: float = 0.0) -> Regions | Refusal:
    """The regions that `x,y,w,h`, `track:ID` or `label:NAME` name in a frame; of detections, those with this score."""
    what, told, name = roi.partition(":")
    if key := told and {"label": "label", "track": "track_id"}.get(what):
        those = [d for d in row.found() if key in d and str(d[key]) == name]
        return of_found(those, row, min_score) or _nothing(row, roi)
    if not (place := _PLACE.fullmatch(roi)):
        return _invalid(f"expected x,y,w,h in pixels, track:ID or label:NAME, got {roi[:64]!r}")
    return _placed(Region(*(int(number) for number in place.groups())), row)


def of_found(found: Iterable[Found], row: Record, min_score: float = 0.0) -> Regions:
    """Around these detections; where they are more than can be asked for, around all of them together."""
    boxes = [_grown(d["box"], row.width, row.height) for d in found if d["score"] >= min_score]
    return tuple(boxes) if len(boxes) <= MOST_REGIONS else (_around(boxes),)


def _placed(region: Region, row: Record) -> Regions | Refusal:
    if region.width < 1 or region.height < 1:
        return _invalid(f"{region.width}x{region.height} pixels are none")
    inside = 0 <= region.x <= row.width - region.width and 0 <= region.y <= row.height - region.height
    if not inside:
        return _invalid(f"it reaches beyond the frame, which has {row.width}x{row.height} pixels")
    return (region,)


def _grown(box: tuple[float, float, float, float], width: int, height: int) -> Region:
    x, across = _span(box[0], box[2], width)
    y, down = _span(box[1], box[3], height)
    return Region(x, y, across, down)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Begin and length of a span of 0..size made larger, at least a pixel inside."""
    more = max(_LEAST, (high - low) / _PART)
    begin = min(max(0, floor(low - more)), size - 1)
    return begin, max(1, min(size, ceil(high + more)) - begin)


def _around(regions: list[Region]) -> Region:
    x, y = min(r.x for r in regions), min(r.y for r in regions)
    return Region(x, y, max(r.x + r.width for r in regions) - x, max(r.y + r.height for r in regions) - y)


def _invalid(reason: str) -> Refusal:
    return Refusal(422, "invalid-request", f"roi: {reason}.")


def _nothing(row: Record, roi: str) -> Refusal:
    there = sorted({_named(d) for d in row.found()})
    has = f"it has {', '.join(there)[:500]}" if there else "nothing was found in it"
    return Refusal(404, "no-such-region", f"Frame {row.id} has no {roi[:80]!r}, or none with that score; {has}.")


def _named(found: dict[str, Any]) -> str:
    return f"track:{found['track_id']} ({found['label']})" if "track_id" in found else f"label:{found['label']}"
