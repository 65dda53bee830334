"""Measuring: each codec at each quality over all frames of all sequences: coded, decoded, detected, tracked, judged."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from bench.accuracy.scene import Scene, Shot
from bench.accuracy.ways import own_codec
from bench.networks import Split
from bench.pictures import Picture, thinned
from bench.rivals import RIVALS
from bench.sfu import pictures
from bench.sfu.files import Sequence as Marked
from bench.track.follow import followed, judged, known
from bench.track.score import Counts, Scores
from bench.video.ways import ENCODERS, Coded, Way, features, low_delay, stills
from common import feature_codec
from common.bundle import Bundle
from common.codec import TemporalCodec
from common.errors import MidstreamError
from common.geometry import Detections
from common.tracking import SURE

UNCODED = "uncoded"
CHUNK = 48
"""Frames that are in memory at once, with their features. Each chunk is coded as if it were the first."""
RATE = 25
"""Frames a second of a sequence that does not say it."""
FINEST = 10
"""Rungs of a codec's ladder that matter: beyond, all is found that is found uncoded."""
RUNGS = 6
"""Of these, how many are measured."""
LAG = 1
"""Frames between a frame and what it is coded after, where the bundle's codec can: as on a link that acks in time."""


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
    """The bundle's own codec, named with the bundle's name, and its rivals, pictures as small as the network's.

    Each codes frames alone, as JPEG does, or after those before them, as x265 and AV1 do; ours in both ways.
    """
    name, codec, alone = scene.bundle.manifest.name, feature_codec.of(scene.bundle), own_codec(scene)
    own = [Way(f"{alone.name}/{name}", alone.ladder, one_by_one)]
    if isinstance(codec, TemporalCodec):
        after = f"{alone.name} after {LAG}/{name}"
        own.append(Way(after, alone.ladder, lambda scene, quality: features(codec, scene, quality, LAG)))
    others = [Way("jpeg", RIVALS["jpeg"].ladder, stills), *map(low_delay, ENCODERS)]
    wanted = [way for way in others if codecs is None or way.name.partition(" ")[0] in codecs]
    return [*own, *(wanted if rivals else ())]


def one_by_one(scene: Scene, quality: int) -> list[Coded]:
    """Every frame by the bundle's codec, alone."""
    way = own_codec(scene)
    coded = (way.code(i, quality) for i in range(len(scene.shots)))
    return [Coded(one.bytes, list(one.features)) for one in coded]


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
            for quality in thinned(way.ladder[:FINEST], RUNGS):
                _add(scene, way.code(scene, quality), done[Key(way.name, quality)])
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


def _add(scene: Scene, coded: Sequence[Coded], into: Gathered) -> None:
    for one, shot in zip(coded, scene.shots, strict=True):
        into.bytes += one.bytes
        into.found.append(scene.split.finish(one.features, shot.picture))


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
