"""What a query may say: filters, cursors, fields."""

import base64
import binascii
import json
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from pydantic import AwareDatetime

from cloud.api.problems import invalid
from cloud.api.shapes import EPOCH, FIELDS
from cloud.store import Filters

Order = Literal["desc", "asc"]


def _known_only(request: Request) -> None:
    """A misspelt filter is an error: ignored, it would show everything."""
    known = _parameters(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none here"
            raise invalid(name[:64], f"there is no such parameter; {there}")


def _parameters(dependant: Dependant) -> set[str]:
    own = {parameter.alias for parameter in dependant.query_params}
    return own.union(*(_parameters(part) for part in dependant.dependencies))


KNOWN_ONLY = Depends(_known_only)
"""For routes that refuse parameters they do not know."""


def _texts(name: str, values: list[str] | None) -> tuple[str, ...]:
    """A NUL is in no name, and PostgreSQL takes none in a text."""
    if any("\0" in value for value in values or ()):
        raise invalid(name, "holds a NUL character")
    return tuple(values or ())


def _filters(
    camera: Annotated[list[str] | None, Query(max_length=64, description="of any of these cameras")] = None,
    edge: Annotated[list[str] | None, Query(max_length=64, description="of any of these edges")] = None,
    label: Annotated[
        list[str] | None, Query(max_length=64, description="frames with any of these; shows these detections only")
    ] = None,
    min_score: Annotated[
        float | None, Query(ge=0, le=1, description="frames with such a detection; shows these detections only")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="captured at or after, RFC 3339")] = None,
    until: Annotated[AwareDatetime | None, Query(description="captured before, RFC 3339")] = None,
) -> Filters:
    return Filters(
        cameras=_texts("camera", camera),
        edges=_texts("edge", edge),
        labels=_texts("label", label),
        min_score=min_score,
        since_us=_micros(since),
        until_us=_micros(until),
    )


Filtered = Annotated[Filters, Depends(_filters)]


def _fields(
    fields: Annotated[str | None, Query(description=f"comma list of {', '.join(sorted(FIELDS))}")] = None,
) -> list[str] | None:
    if fields is None:
        return None
    names = [name.strip() for name in fields.split(",")]
    unknown = sorted(set(names) - FIELDS)
    if unknown:
        raise invalid("fields", f"there is no {', '.join(unknown)}; there are {', '.join(sorted(FIELDS))}")
    return names


Fields = Annotated[list[str] | None, Depends(_fields)]


def _micros(time: datetime | None) -> int | None:
    return None if time is None else (time - EPOCH) // timedelta(microseconds=1)


def encode_cursor(order: Order, number: int) -> str:
    """Where a page ended. Opaque outside: only `decode_cursor` may look inside."""
    return base64.urlsafe_b64encode(json.dumps([order, number]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, order: Order) -> int | None:
    """The number that a page ended with. Raises Problem."""
    if cursor is None:
        return None
    try:
        said, number = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise invalid("cursor", "not a cursor of this service; take `next` of the page before as it is") from None
    if type(number) is not int or not 0 <= number < 2**63:
        raise invalid("cursor", "not a cursor of this service; take `next` of the page before as it is")
    if said != order:
        raise invalid("cursor", f"belongs to order={said}; keep all parameters while paging")
    return number
