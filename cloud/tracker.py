"""Follows objects through the results of each camera of each edge: which detection is which track.

Nothing here remembers anything: what is known of a camera goes in and comes out, so that it can be stored in the
transaction that stores the results, or be forgotten with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from cloud.frame import Result
from common.tracking import SURE, Seen, State, as_values, from_values, step
from common.types import Detection

log = structlog.get_logger()

Place = tuple[str, str]
"""(edge, camera)"""
Votes = dict[str, int]
"""In how many frames a track had each label."""


@dataclass(frozen=True, slots=True)
class Following:
    """What is known of one camera: the tracks that may be seen again, and how they were labelled so far."""

    state: State = field(default_factory=State)
    votes: Mapping[int, Votes] = field(default_factory=dict)

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(as_values(self.state) | {"votes": self.votes}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "Following":
        """What `to_text` wrote."""
        values = json.loads(text)
        state = from_values(values)
        known = set(state.ids.tolist())
        return cls(state, {int(i): votes for i, votes in values["votes"].items() if int(i) in known})


@dataclass(frozen=True, slots=True)
class Sighting:
    """A track in one frame: the `index`-th detection there, and the track's votes with it."""

    track: int
    index: int
    detection: Detection
    votes: Votes


@dataclass(frozen=True, slots=True)
class Followed:
    """What some results were: a list of sightings for each, what is known of their cameras now, the next free id."""

    sightings: list[list[Sighting]]
    known: dict[Place, Following]
    next_id: int

    def ids(self, number: int) -> dict[int, int]:
        """Of the result of this number: place of a detection -> its track."""
        return {one.index: one.track for one in self.sightings[number]}


def place(result: Result) -> Place:
    """Where a result comes from."""
    return result.frame.key[0], result.frame.camera


def follow(known: Mapping[Place, Following], results: Sequence[Result], next_id: int, sure: float = SURE) -> Followed:
    """Take results in their order, each once. `known` has their cameras, those that are new excepted.

    Detections from the score `sure` begin tracks. Where a result cannot be followed, its camera's tracks begin anew.
    """
    now = dict(known)
    sightings = []
    for result in results:
        where = place(result)
        try:
            now[where], found, next_id = _next(now.get(where, Following()), result, next_id, sure)
        except Exception:  # whatever is wrong with tracking, results are stored, and other cameras' tracks go on
            log.exception("tracking failed; this camera's tracks begin anew", edge=where[0], camera=where[1])
            now[where], found = Following(), []
        sightings.append(found)
    return Followed(sightings, now, next_id)


def _next(before: Following, result: Result, next_id: int, sure: float) -> tuple[Following, list[Sighting], int]:
    done = step(before.state, _seen(result), next_id, sure)
    votes = dict(before.votes)
    found = []
    for index, track in enumerate(done.ids.tolist()):
        if track:
            detection = result.detections[index]
            own = votes.get(track, {})
            votes[track] = own | {detection.label: own.get(detection.label, 0) + 1}
            found.append(Sighting(track, index, detection, votes[track]))
    alive = set(done.state.ids.tolist())
    return Following(done.state, {i: v for i, v in votes.items() if i in alive}), found, done.next_id


def _seen(result: Result) -> Seen:
    found = result.detections
    return Seen(
        result.frame.captured_us,
        np.array([d.box for d in found], float).reshape(-1, 4),
        np.array([d.score for d in found], float),
        np.array([d.label for d in found], np.str_),
    )


def label(votes: Votes) -> str:
    """What a track most likely is; of equals, what it was taken for first."""
    return max(votes, key=lambda name: votes[name])
