"""Measuring: each codec at each quality over all frames of all sequences: coded, decoded, detected, tracked, judged."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from bench.accuracy.scene import Scene, Shot
from bench.accuracy.ways import SIZES, Way, own_codec, picture_way
from bench.networks import Split
from bench.pictures import Picture, thinned
from bench.rivals import RIVALS
from bench.sfu import pictures
from bench.sfu.files import Sequence as Marked
from bench.track.follow import followed, judged, known
from bench.track.score import Counts, Scores
from common.bundle import Bundle
from common.errors import MidstreamError
from common.geometry import Detections
from common.tracking import SURE

UNCODED = "uncoded"
CHUNK = 48
"""Frames that are in memory at once, with their features."""
RATE = 25
"""Frames a second of a sequence that does not say it."""
RUNGS = 6
"""Of a codec's ladder that are measured."""
RIVAL_NAMES = tuple(f"{name}/{SIZES[0]}" for name in ("jpeg", "x265", "av1"))
"""Pictures as small as the network takes them: the fewest bytes that would do."""


@dataclass(frozen=True)
class Row:
    """One codec at one quality, or nothing coded."""

    codec: str
    quality: int | None
    bytes_per_frame: float | None
    mota: float
    idf1: float
    hota: float
    motp: float
    """Mean overlap of what was found with what is there: more is better."""
    detection: float
    association: float
    """HOTA's two parts."""
    missed: int
    wrong: int
    switches: int

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class Clip(NamedTuple):
    """A sequence and where its pictures are."""

    marked: Marked
    video: Path

    def pictures(self, limit: int | None) -> Iterator[Picture]:
        """Its frames, the first `limit` of them, but none beyond the last that is labelled."""
        last = max(self.marked.frames) + 1
        return pictures.pictures(self.video, last if limit is None else min(limit, last))


class Key(NamedTuple):
    """What a row is of."""

    codec: str
    quality: int | None


@dataclass
class Gathered:
    """A codec at a quality in one sequence."""

    bytes: int = 0
    found: list[Detections] = field(default_factory=list)


def ways(scene: Scene, codecs: Sequence[str] | None, rivals: bool) -> list[Way]:
    """The bundle's own codec, named with the bundle's name, and pictures by its rivals."""
    own = own_codec(scene)
    named = Way(f"{own.name}/{scene.bundle.manifest.name}", own.ladder, own.code, own.features)
    wanted = [name for name in RIVAL_NAMES if codecs is None or name.partition("/")[0] in codecs]
    pictured = [picture_way(name, RIVALS[name.partition("/")[0]], scene, small=True) for name in wanted]
    return [named, *(pictured if rivals else ())]


def measure(
    bundles: Sequence[Bundle],
    clips: Sequence[Clip],
    codecs: Sequence[str] | None,
    limit: int | None,
    tick: Callable[[int], None] = lambda frames: None,
    sure: float = SURE,
) -> list[Row]:
    """The rows of all bundles; rivals are seen by the network of the first. `tick` hears of frames that are done.

    Tracks begin at the score `sure`.

    Raises MidstreamError if pictures cannot be read, or if the detector knows nothing that is marked.
    """
    for bundle, clip in product(bundles, clips):
        if not known(bundle, clip.marked):
            raise MidstreamError(f"{clip.marked.name} marks nothing that {bundle.manifest.name} can find")
    rows = []
    for number, bundle in enumerate(bundles):
        split = Split(bundle)
        totals: dict[Key, Counts] = {}
        sizes: dict[Key, list[int]] = defaultdict(list)
        for clip in clips:
            done, size = gathered(split, clip, codecs, limit, number == 0, tick)
            for key, got in done.items():
                counted = _judged(split, clip, got.found, size, sure)
                totals[key] = totals[key] + counted if key in totals else counted
                sizes[key] += [got.bytes, len(got.found)]
        rows += [row(key, totals[key].scores(), sizes[key]) for key in totals if number == 0 or key.codec != UNCODED]
    return sorted(rows, key=lambda r: r.codec != UNCODED)


def gathered(
    split: Split, clip: Clip, codecs: Sequence[str] | None, limit: int | None, first: bool, tick: Callable[[int], None]
) -> tuple[dict[Key, Gathered], tuple[int, int]]:
    """Bytes and detections of a sequence in every way, and its pictures' width and height."""
    done: dict[Key, Gathered] = defaultdict(Gathered)
    size = None
    for chunk in _chunks(clip.pictures(limit)):
        shape = chunk[0].shape[1], chunk[0].shape[0]
        size = size or shape
        if any(picture.shape[1::-1] != size for picture in chunk):
            raise MidstreamError(f"{clip.video.name}: pictures of several sizes are no sequence")
        scene = Scene(split, [Shot(str(i), picture) for i, picture in enumerate(chunk)])
        done[Key(UNCODED, None)].found += scene.uncoded
        for way in ways(scene, codecs, first):
            for quality in thinned(way.ladder, RUNGS):
                _code(scene, way, quality, done[Key(way.name, quality)])
        tick(len(chunk))
    if size is None:
        raise MidstreamError(f"{clip.video} holds no picture")
    return done, size


def _chunks(frames: Iterator[Picture]) -> Iterator[list[Picture]]:
    chunk: list[Picture] = []
    for picture in frames:
        chunk.append(picture)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _code(scene: Scene, way: Way, quality: int, into: Gathered) -> None:
    for i, shot in enumerate(scene.shots):
        coded = way.code(i, quality)
        into.bytes += coded.bytes
        into.found.append(scene.split.finish(coded.features, shot.picture))


def _judged(split: Split, clip: Clip, found: Sequence[Detections], size: tuple[int, int], sure: float) -> Counts:
    tracks = followed(found, split.bundle.manifest.detector.labels, clip.marked.rate or RATE, sure)
    return judged(clip.marked, tracks, size, known(split.bundle, clip.marked))


def row(key: Key, scores: Scores, sizes: Sequence[int]) -> Row:
    """Of scores, and of bytes and frames by turns."""
    coded, frames = sum(sizes[::2]), sum(sizes[1::2])
    return Row(
        codec=key.codec,
        quality=key.quality,
        bytes_per_frame=None if key.quality is None else coded / frames,
        mota=scores.mota,
        idf1=scores.idf1,
        hota=scores.hota,
        motp=scores.motp,
        detection=scores.detection,
        association=scores.association,
        missed=scores.missed,
        wrong=scores.wrong,
        switches=scores.switches,
    )
