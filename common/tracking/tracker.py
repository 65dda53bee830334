"""One step of a tracker: what was seen in the next frame, and which of it is which track.

Two stages, as in ByteTrack: detections that are sure go to the tracks first, then those that are not go to tracks which
would otherwise be lost, because a faint detection where an object was just seen is that object half hidden. What is
sure and nobody's may be a new object; it gets its id when it has been seen often enough for how sure that was.

A step is a function of the state and the frame, nothing else: the same frames give the same ids, and a state that was
written down goes on as if it had never been away.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from common.tracking.motion import Floats, Motion, began, boxed, corrected, predicted, slack
from common.tracking.pairs import Ints, overlap, paired

Labels = NDArray[np.str_]

SURE = 0.3
"""Score from which a detection goes to the first stage, and from which it may begin a track, unless said otherwise."""
CERTAIN = 1.0
"""Sum of sure scores, frame after frame, from which something is an object: it gets its id, in its second frame at the
earliest. A weak detector needs more frames for the same certainty than a strong one.
"""
FAINT = 0.1
"""Score from which one goes to the second stage; below, it is not looked at."""
ALIKE = 0.2
"""Overlap that the first stage asks for, and the second sight of an object."""
ALIKE_FAINT = 0.4
"""Overlap that the second stage asks for."""
OTHER_LABEL = 0.33
"""What an overlap counts for if the label is another: a car that looks like a truck for a moment stays what it is."""
SAME = 0.7
"""Overlap of two detections in a frame from which they are one object, which has two labels."""
PATIENCE_US = 2_000_000
"""How long an object that is not seen is waited for..."""
PATIENCE_FRAMES = 3
"""...and how many frames at least..."""
LIMIT_US = 20_000_000
"""...but no longer than this."""
MOST = 256
"""Tracks of a camera at once; those seen last stay."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was detected in a frame, in any order."""

    at_us: int
    """When it was captured, in microseconds of any clock."""
    boxes: Floats
    """[D, 4] x1, y1, x2, y2 in pixels of the picture."""
    scores: Floats
    """[D] 0 to 1."""
    labels: Labels
    """[D]."""


@dataclass(frozen=True, slots=True)
class State:
    """T tracks as they were after a frame."""

    at_us: int | None = None
    """When that frame was captured, or the one before it if that was later; None before the first."""
    late_us: int | None = None
    """When it was captured if it is not yet known whether it was late or the clock was set back."""
    clock_us: int = 0
    """The time that has passed between frames: unlike capture times it never goes back."""
    ids: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[T] above 0; 0 for what may be nothing."""
    seen_us: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[T] on the clock, when each was seen last."""
    missed: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[T] frames since then."""
    evidence: Floats = field(default_factory=lambda: np.zeros(0))
    """[T] sum of the sure scores, up to `CERTAIN`."""
    labels: Labels = field(default_factory=lambda: np.zeros(0, "U1"))
    """[T] of the last sure detection."""
    motion: Motion = field(default_factory=lambda: began(np.zeros((0, 4))))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Step:
    """What a frame did."""

    state: State
    ids: Ints
    """[D] the track of each detection, 0 for none."""
    next_id: int
    """The id that the next new track will have."""


def step(state: State, seen: Seen, next_id: int, sure: float = SURE) -> Step:
    """The state after a frame, and whose the detections are. New tracks are numbered from `next_id`, above 0.

    `sure`, not below `FAINT`, is for detectors whose scores mean more or less than others'.
    """
    state = _aged(state, seen.at_us)
    owner = _owners(state, seen, sure)
    rows = (owner >= 0).nonzero()[0]
    met, mine = owner[rows], seen.boxes[rows]
    firm = seen.scores[rows] >= sure
    evidence = state.evidence.copy()
    evidence[met[firm]] = np.minimum(evidence[met[firm]] + seen.scores[rows[firm]], CERTAIN)
    ids, next_id = _named(state.ids, met[evidence[met] >= CERTAIN], next_id)
    found = np.zeros(len(seen.scores), np.int64)
    found[rows] = ids[met]
    labels = state.labels.astype(max(state.labels.dtype, seen.labels.dtype, key=lambda kind: kind.itemsize))
    labels[met[firm]] = seen.labels[rows[firm]]
    seen_us, missed = state.seen_us.copy(), state.missed + 1
    seen_us[met], missed[met] = state.clock_us, 0
    motion = state.motion.put(met, corrected(state.motion.take(met), mine))
    after = replace(state, ids=ids, seen_us=seen_us, missed=missed, evidence=evidence, labels=labels, motion=motion)
    kept = (ids > 0) | (missed == 0)  # what goes before it is certain was nothing
    return Step(_bounded(_with_new(_kept(after, kept), seen, owner, sure)), found, next_id)


def _aged(state: State, at_us: int) -> State:
    """The state at the time of the next frame, without the tracks that are waited for no more."""
    now = _timed(state, at_us)
    age = now.clock_us - state.seen_us
    waited_for = (age <= PATIENCE_US) | (state.missed < PATIENCE_FRAMES)
    passed = now.clock_us - state.clock_us
    now = _kept(now, waited_for & (age <= LIMIT_US))
    return replace(now, motion=predicted(now.motion, passed / 1e6))


def _timed(state: State, at_us: int) -> State:
    """The state with the time of the next frame.

    One that goes back is late, and the next is as far from those before it as ever; if that goes back, too, the
    clock was set back, and is followed.
    """
    before = state.at_us
    if before is not None and at_us < before:
        if state.late_us is None:
            return replace(state, late_us=at_us)
        before = state.late_us
    passed = 0 if before is None else max(0, at_us - before)
    return replace(state, at_us=at_us, late_us=None, clock_us=state.clock_us + passed)


def _owners(state: State, seen: Seen, sure: float) -> Ints:
    """[D] the row of each detection's track, -1 for none."""
    owner = np.full(len(seen.scores), -1, np.int64)
    if not len(state) or not len(owner):
        return owner
    alike = overlap(boxed(state.motion.place), seen.boxes, slack(state.motion))
    other = state.labels[:, None] != seen.labels[None]
    firm = (seen.scores >= sure).nonzero()[0]
    faint = ((seen.scores >= FAINT) & (seen.scores < sure)).nonzero()[0]
    alike = np.where(other, OTHER_LABEL * alike, alike)
    known = state.ids > 0
    free = _pair(owner, alike, known.nonzero()[0], firm, ALIKE)
    just_lost = free[state.missed[free] == 0]
    if len(just_lost) and len(faint):
        _pair(owner, np.where(other, 0, alike), just_lost, faint, ALIKE_FAINT)
    _pair(owner, alike, (~known).nonzero()[0], firm[owner[firm] < 0], ALIKE)
    return owner


def _pair(owner: Ints, alike: Floats, tracks: Ints, detections: Ints, least: float) -> Ints:
    """Give detections to tracks; the tracks that got none."""
    if not len(tracks) or not len(detections):
        return tracks
    rows, columns = paired(alike[tracks[:, None], detections], least)
    owner[detections[columns]] = tracks[rows]
    free = np.ones(len(tracks), bool)
    free[rows] = False
    return tracks[free]


def _named(ids: Ints, met: Ints, next_id: int) -> tuple[Ints, int]:
    """The ids when those of the met who have none have got theirs, in the order of the detections."""
    fresh = met[ids[met] == 0]
    ids = ids.copy()
    ids[fresh] = np.arange(next_id, next_id + len(fresh))
    return ids, next_id + len(fresh)


def _with_new(state: State, seen: Seen, owner: Ints, sure: float) -> State:
    """With what may be new objects: sure, nobody's, and not the same as another under another label."""
    new = ((owner < 0) & (seen.scores >= sure)).nonzero()[0]
    if not len(new):
        return state
    rows = _different(seen, (owner >= 0).nonzero()[0], new)
    none = np.zeros(len(rows), np.int64)
    return replace(
        state,
        ids=np.concatenate([state.ids, none]),
        seen_us=np.concatenate([state.seen_us, none + state.clock_us]),
        missed=np.concatenate([state.missed, none]),
        evidence=np.concatenate([state.evidence, seen.scores[rows]]),
        labels=np.concatenate([state.labels, seen.labels[rows]]),
        motion=state.motion.beside(began(seen.boxes[rows])),
    )


def _different(seen: Seen, taken: Ints, new: Ints) -> Ints:
    """Of the new detections, best first, those that are neither one of the taken nor a better new one."""
    kept: list[int] = []
    for row in new[np.argsort(-seen.scores[new], kind="stable")].tolist():
        others = seen.boxes[[*taken.tolist(), *kept]]
        if not len(others) or overlap(seen.boxes[[row]], others, np.zeros(1)).max() < SAME:
            kept.append(row)
    return np.array(kept, np.int64)


def _bounded(state: State) -> State:
    if len(state) <= MOST:
        return state
    newest = np.lexsort((np.arange(len(state)), -state.seen_us))[:MOST]
    return _taken(state, np.sort(newest))


def _kept(state: State, mask: NDArray[np.bool_]) -> State:
    return state if mask.all() else _taken(state, mask)  # nearly always all stay


def _taken(state: State, chosen: NDArray[np.bool_] | Ints) -> State:
    return replace(
        state,
        ids=state.ids[chosen],
        seen_us=state.seen_us[chosen],
        missed=state.missed[chosen],
        evidence=state.evidence[chosen],
        labels=state.labels[chosen],
        motion=state.motion.take(chosen),
    )
