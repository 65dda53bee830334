"""Which form a picture is sent in."""

import pytest

from cloud.api.formats import DRAWING, PHOTO, choose
from cloud.api.problems import Problem


@pytest.mark.parametrize(
    ("named", "accept", "form"),
    [
        (None, None, "jpeg"),
        (None, "", "jpeg"),
        (None, "*/*", "jpeg"),
        (None, "image/*", "jpeg"),
        (None, "application/json, image/*", "jpeg"),
        (None, "image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "jpeg"),  # all alike: the usual one
        (None, "image/png", "png"),
        (None, "IMAGE/PNG ; Q=0.4, text/html", "png"),
        (None, "image/webp;q=0.9, image/png;q=0.8, */*;q=0.1", "webp"),
        (None, "image/*, image/jpeg;q=0", "webp"),  # the most specific range counts
        (None, "image/jpeg;q=0, */*", "webp"),
        (None, "image/jpeg;q=high, image/png", "png"),
        ("png", "image/jpeg", "png"),  # what is named needs no header's leave
    ],
)
def test_the_best_of_what_is_admitted(named: str | None, accept: str | None, form: str) -> None:
    assert choose(named, accept, PHOTO) == form


def test_masks_are_drawings() -> None:
    assert choose(None, "image/*", DRAWING) == "png"


@pytest.mark.parametrize(
    ("named", "accept"), [("bmp", None), ("JPEG", "*/*"), (None, "text/html"), (None, "image/*;q=0")]
)
def test_what_there_is_not_is_told_with_what_there_is(named: str | None, accept: str | None) -> None:
    with pytest.raises(Problem, match="jpeg, png, webp") as told:
        choose(named, accept, PHOTO)
    assert told.value.status == 406
