"""What coding a cut costs at each quality: real containers, and agreement with the uncoded network."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from bench.networks import Split
from bench.score import agreement, average_precision, sure
from common.codec import Codec, Container, Features, Layer, pack, unpack
from common.codec.container import PREFIX_BYTES
from common.errors import BundleError
from common.geometry import Detections
from common.payload.picture import PictureCodec, content_size, place, resize
from train.bundles.images import Sample

FEW = 16
"""Qualities that are all measured; of more, some are chosen."""
STEPS, FEWEST = 32, 16
"""Into so many the range of a continuous quality is divided: at most, and at least."""
APART = 16
"""Qualities; points closer than a quarter of an octave of the step say the same."""
COARSEST, FINEST = 0.6, 0.995
"""The agreement beyond which finer or coarser points are of no use."""

ENOUGH = 20
"""Sure detections below which agreement says little."""

PICTURE_QUALITIES = (30, 50, 75, 90)

Point = dict[str, Any]
Code = Callable[[Sample], tuple[int, Sequence[Features]]]
"""A picture to its bytes on the wire, and the cut's tensors that the back half then gets."""


class Subject:
    """A network cut in two, pictures, their uncoded cuts and what it finds in them uncoded."""

    def __init__(self, split: Split, samples: Sequence[Sample]) -> None:
        self.split, self.samples = split, samples
        self.classes = len(split.bundle.manifest.detector.labels)
        self.uncoded = [self._finish(split.front.run(sample.image), sample) for sample in samples]

    def check(self, console: Console) -> None:
        """Raise BundleError if nothing at all is found uncoded: there is nothing to agree with. Warn of little."""
        found = sum(len(sure(each).labels) for each in self.uncoded)
        if not found:
            raise BundleError(
                f"nothing is found in these {len(self.samples)} pictures: check --head, --color and --range, "
                "or give pictures of what the network knows"
            )
        if found < ENOUGH:
            console.print(f"only {found} sure detections in {len(self.samples)} pictures: agreement is a rough guess")

    def _finish(self, features: Sequence[Features], sample: Sample) -> Detections:
        return self.split.finish_sized(features, sample.width, sample.height)

    def point(self, codec: Codec, quality: int) -> Point:
        """One operating point of the features' codec, over all pictures."""

        def code(sample: Sample) -> tuple[int, Sequence[Features]]:
            seen = self.split.bundle.manifest.input.window(sample.width, sample.height)
            layers = codec.encode(self.split.front.run(sample.image), quality, seen)
            data = self._packed(codec.id, quality, sample, layers)
            return len(data), codec.decode(unpack(data).layers, seen)

        return self._measured(quality, code)

    def picture_point(self, quality: int) -> Point:
        """One operating point of mode `image`: the picture travels, both halves run behind it."""
        codec, taken = PictureCodec(), self.split.bundle.manifest.input

        def code(sample: Sample) -> tuple[int, Sequence[Features]]:
            box = taken.box(sample.width, sample.height)
            content = sample.image[box.top : box.top + box.height, box.left : box.left + box.width]
            layers = codec.encode(resize(content, *content_size(box)), quality)
            data = self._packed(codec.id, quality, sample, layers)
            image = place(codec.decode(unpack(data).layers, box), box, taken.width, taken.pad)
            return len(data), self.split.front.run(image)

        return self._measured(quality, code)

    def _packed(self, codec: int, quality: int, sample: Sample, layers: list[Layer]) -> bytes:
        return pack(Container(bytes(PREFIX_BYTES), codec, quality, sample.width, sample.height, layers))

    def _measured(self, quality: int, code: Code) -> Point:
        """Cuts are computed anew for each point: a hundred large ones would fill the memory."""
        sizes, found = [], []
        for sample in self.samples:
            size, features = code(sample)
            sizes.append(size)
            found.append(self._finish(features, sample))
        return {
            "quality": quality,
            "bytes_mean": round(float(np.mean(sizes)), 1),
            "bytes_p95": round(float(np.percentile(sizes, 95)), 1),
            **self._accuracy(found),
            "agreement_ap50": round(agreement(self.uncoded, found, self.classes), 4),
            "images": len(self.samples),
        }

    def _accuracy(self, found: Sequence[Detections]) -> dict[str, float]:
        """AP50 against what people marked, if they did."""
        marked = [(s.marks, f) for s, f in zip(self.samples, found, strict=True) if s.marks is not None]
        if not any(len(marks.labels) for marks, _ in marked):
            return {}
        truth, seen = zip(*marked, strict=True)
        return {"ap50": round(average_precision(truth, seen, self.classes)[1], 4)}


def points(subject: Subject, codec: Codec) -> Iterator[Point]:
    """The operating points worth a place in the bundle, as they are measured; not in their order."""
    qualities = codec.qualities
    if len(qualities) <= FEW:
        yield from (subject.point(codec, quality) for quality in qualities)
        return
    rising = sorted(qualities)
    step = max(len(rising) // STEPS, min(APART, len(rising) // FEWEST))
    start = rising.index(codec.default_quality)
    first = subject.point(codec, rising[start])
    yield first
    for way, places in ((-1, range(start - step, -1, -step)), (1, range(start + step, len(rising), step))):
        point = first
        for index in places:
            if (point["agreement_ap50"] < COARSEST) if way < 0 else (point["agreement_ap50"] > FINEST):
                break
            point = subject.point(codec, rising[index])
            yield point
