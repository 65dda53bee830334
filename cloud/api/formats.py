"""Which form a picture is sent in: the one that `format` names, else the best of what Accept admits."""

from collections.abc import Sequence

from cloud.api.problems import Problem
from cloud.encoded import MEDIA_TYPES

PHOTO = ("jpeg", "webp", "png")
"""Forms by preference, for pictures of the world."""
DRAWING = ("png", "webp", "jpeg")
"""The same for masks."""


def choose(named: str | None, accept: str | None, preferred: Sequence[str]) -> str:
    """One of the preferred. Raises Problem 406 that lists them all."""
    if named is not None:
        if named not in MEDIA_TYPES:
            raise not_acceptable(f"There is no format {named[:32]!r}", preferred)
        if named not in preferred:
            raise not_acceptable(f"The picture has too many pixels for format {named}", preferred)
        return named
    if not preferred:
        raise not_acceptable("The picture has too many pixels to be made over", preferred)
    # The first of the best: max takes the first of equals.
    best = max(preferred, key=lambda form: admitted(accept, MEDIA_TYPES[form]))
    if not admitted(accept, MEDIA_TYPES[best]):
        raise not_acceptable(f"Accept admits none: {str(accept)[:200]!r}", preferred)
    return best


def admitted(accept: str | None, media_type: str) -> float:
    """How much a client wants this type, 0 to 1, by the most specific range of its Accept header (RFC 9110)."""
    if not accept or not accept.strip():
        return 1.0
    ranges = {media_type: 3, media_type.partition("/")[0] + "/*": 2, "*/*": 1}
    best, wanted = 0, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if ranges.get(name, 0) > best:
            best, wanted = ranges[name], _weight(parameters)
    return wanted


def not_acceptable(why: str, preferred: Sequence[str]) -> Problem:
    """406 that says which forms there are instead."""
    forms = [form for form in MEDIA_TYPES if form in preferred]
    there = f"there are {', '.join(forms)}" if forms else "there is only the original, in the form it came in"
    return Problem(406, "format-not-supported", f"{why}; {there}.", formats=forms)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
