"""What `midstream demo` and `midstream results` print of one result."""

import pytest

from common.types import STAGES
from midstream.demo import waterfall
from midstream.results import line

SIDES = {
    "split": (
        {"decode_picture", "front", "code", "spool", "queue"},
        {"batch", "decode_features", "back", "nms", "store"},
    ),
    "image": (
        {"decode_picture", "code", "spool", "queue"},
        {"batch", "decode_features", "front", "back", "nms", "store"},
    ),
    "edge": (
        {"decode_picture", "front", "back", "nms", "code", "spool", "queue"},
        {"batch", "decode_features", "store"},
    ),
}


@pytest.mark.parametrize("mode", SIDES)
def test_a_stage_stands_on_the_side_that_ran_it(mode: str) -> None:
    edge, wire, cloud = waterfall(dict.fromkeys(STAGES, 1.0), mode).split("  ·  ")
    for side, part in zip(SIDES[mode], (edge.removeprefix("edge "), cloud.removeprefix("cloud ")), strict=True):
        assert {stage.split()[0] for stage in part.split(", ")} == side
    assert wire == "wire 1.0"


def test_a_result_says_its_mode_and_quality() -> None:
    row = {
        "stored_at": "2026-05-01T12:00:00.123456Z",
        "camera": "door",
        "detections": [],
        "provenance": "image",
        "quality": 75,
        "bytes": {"coded": 10, "source": 0},
        "timing": {},
        "id": "x",
    }
    assert {"image", "75"} <= set(line(row, 0.3))
