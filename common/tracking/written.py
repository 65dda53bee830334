"""A tracker's state as plain values for JSON, and back: numbers come back to the last bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.tracking.motion import Motion
from common.tracking.tracker import State

FORMAT = 1
"""Rises when fields go or mean something else."""


def as_values(state: State) -> dict[str, Any]:
    """Everything in it: some 300 bytes a track as JSON, at most `tracker.MOST` tracks."""
    return {
        "format": FORMAT,
        "at_us": state.at_us,
        "late_us": state.late_us,
        "clock_us": state.clock_us,
        "ids": state.ids.tolist(),
        "seen_us": state.seen_us.tolist(),
        "missed": state.missed.tolist(),
        "evidence": state.evidence.tolist(),
        "labels": state.labels.tolist(),
        "place": state.motion.place.tolist(),
        "speed": state.motion.speed.tolist(),
        "spread": state.motion.spread.tolist(),
    }


def from_values(values: Mapping[str, Any]) -> State:
    """The state that was written; an empty one if another version of the format wrote it."""
    if values["format"] != FORMAT:
        return State()
    columns = {"place": 4, "speed": 2, "spread": 4}
    motion = Motion.of(*(np.array(values[name], float).reshape(-1, width) for name, width in columns.items()))
    late_us = values.get("late_us")  # states from before it was known have none
    whole = {name: np.array(values[name], np.int64) for name in ("ids", "seen_us", "missed")}
    evidence, labels = np.array(values["evidence"], float), np.array(values["labels"], np.str_)
    return State(values["at_us"], late_us, values["clock_us"], **whole, evidence=evidence, labels=labels, motion=motion)
