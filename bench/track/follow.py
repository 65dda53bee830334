"""The cloud's tracker over what a detector found in a sequence, frame by frame, and the tracks beside the truth."""

from collections.abc import Sequence

import numpy as np

from bench.labels import COCO
from bench.sfu.convert import NAMES, corner
from bench.sfu.files import Mark
from bench.sfu.files import Sequence as Marked
from bench.track.score import Boxes, Counts, counts
from common.bundle import Bundle
from common.geometry import Detections
from common.tracking import SURE, Seen, State, step

Tracked = list[tuple[Detections, np.ndarray]]
"""Of each frame the detections that are of a track, and its id."""


def followed(frames: Sequence[Detections], labels: Sequence[str], rate: float, sure: float = SURE) -> Tracked:
    """Detections of frames at so many a second as tracks, which begin at the score `sure`."""
    names = np.array(labels)
    state, next_id = State(), 1
    tracks: Tracked = []
    for number, found in enumerate(frames):
        at_us = round(1e6 * number / rate)
        seen = Seen(at_us, found.boxes.astype(float), found.scores.astype(float), names[found.labels])
        done = step(state, seen, next_id, sure)
        state, next_id = done.state, done.next_id
        kept = done.ids > 0
        tracks.append((Detections(found.boxes[kept], found.scores[kept], found.labels[kept]), done.ids[kept]))
    return tracks


def known(bundle: Bundle, sequence: Marked) -> dict[int, int]:
    """The sequence's classes that the detector knows -> its own."""
    ids = list(bundle.manifest.detector.coco_ids)
    return {kind: ids.index(COCO[NAMES[kind]]) for kind in sequence.kinds if COCO[NAMES[kind]] in ids}


def judged(sequence: Marked, tracks: Tracked, size: tuple[int, int], classes: dict[int, int]) -> Counts:
    """Class by class, added up: an object is followed as what it is. `size` is the pictures' width and height.

    Frames without a file of labels are left out: nobody said what is in them.
    """
    numbers = [number for number in sequence.frames if number < len(tracks)]
    total = None
    for kind, label in classes.items():
        truth = [_truth([m for m in sequence.frames[n] if m.kind == kind], size) for n in numbers]
        own = counts(truth, [_found(*tracks[n], label) for n in numbers])
        total = own if total is None else total + own
    assert total is not None
    return total


def _truth(marks: Sequence[Mark], size: tuple[int, int]) -> Boxes:
    corners = np.array([corner(mark, *size) for mark in marks], float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Boxes(corners, np.array([mark.id for mark in marks], np.int64))


def _found(found: Detections, ids: np.ndarray, label: int) -> Boxes:
    own = found.labels == label
    return Boxes(found.boxes[own].astype(float), ids[own])
