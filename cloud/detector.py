"""What a bundle needs in the cloud: for each kind of payload how to decode it, and the halves of the network.

A frame enters where its payload stands: a picture before the front half, features before the back half, detections
behind it. Which of them it is, the container's codec id says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.frame import Frame, Origin
from cloud.networks import open_back
from cloud.states import States
from common import feature_codec
from common.bundle import Bundle
from common.codec import BatchCodec, Container, Features, Layer, Read, TemporalCodec, Window
from common.codec.container import check
from common.errors import BitstreamError
from common.network.front import Front
from common.payload import SHADOW, DetectionList, PictureCodec
from common.payload.picture import place
from common.types import Detection, Mode


@dataclass(slots=True)
class Halfway:
    """A frame as far as it has come: exactly one of the first four is there when it enters."""

    picture: NDArray[np.uint8] | None = None
    """The network's input [size, size, 3]."""
    features: list[Features] | None = None
    """The cut's tensors, without the batch."""
    read: Read | None = None
    """What a network makes features of, which several frames share."""
    detections: list[Detection] | None = None
    """In the picture's pixels."""
    standing: Layer | None = None
    """Of a frame that was coded after another: a base layer that says the same without it."""


Enter = Callable[[Container], Halfway]


class Detector:
    """One bundle, loaded. Raises BundleError if it does not work."""

    def __init__(self, bundle: Bundle, threads: int, min_score: float) -> None:
        manifest = bundle.manifest
        self._codec = feature_codec.of(bundle, threads)
        # Found out once: whether a class keeps a protocol is not told quickly.
        self._temporal = self._codec if isinstance(self._codec, TemporalCodec) else None
        self._batched = self._codec if isinstance(self._codec, BatchCodec) else None
        self._pictures = PictureCodec()
        self._lists = DetectionList(manifest.detector.labels, manifest.detector.max_detections)
        self._input = manifest.input
        self._shapes = manifest.cut.shapes
        self._beside = frozenset(layer.kind for layer in manifest.layers)
        self._min_score = min_score
        self.front = Front(bundle, threads) if Mode.IMAGE in manifest.modes else None
        """Where the bundle's files allow it."""
        self.back = open_back(bundle, threads, min_score)
        self._doors = {
            self._codec.id: (Origin(Mode.SPLIT, self._codec.name), self._features),
            self._lists.id: (Origin(Mode.EDGE, self._lists.name), self._detections),
        }
        if self.front is not None:
            self._doors[self._pictures.id] = (Origin(Mode.IMAGE, self._pictures.name), self._picture)

    def enter(self, container: Container) -> tuple[Origin, Halfway]:
        """Decode what travelled. Raises BitstreamError."""
        if container.codec not in self._doors:
            there = ", ".join(f"{number} ({origin.codec})" for number, (origin, _) in self._doors.items())
            raise BitstreamError(f"codec: expected one of {there} with this bundle, got {container.codec}")
        origin, door = self._doors[container.codec]
        return origin, door(container)

    def enter_frame(self, frame: Frame, states: States) -> tuple[Origin, Halfway]:
        """The same of a frame that may be coded after another of its camera, and is kept for those after it.

        Raises MissingReferenceError if what it is coded after is not held, BitstreamError as `enter`.
        """
        container = frame.container
        if container.codec != self._codec.id or self._temporal is None:
            return self.enter(container)
        layers, window = _own(container, self._beside), self._window(container)
        if self._batched is not None:
            read = self._batched.read(layers, window, lambda name: states.held(frame, name))
            at, state = Halfway(read=read, standing=read.standing), read.state
        else:
            features, state = self._temporal.decode_after(layers, window, lambda name: states.held(frame, name))
            at = Halfway(features=features)
        if state is not None:
            states.keep(frame, state)
        origin, _ = self._doors[container.codec]
        return origin, at

    def raise_many(self, reads: Sequence[Read]) -> list[list[Features]]:
        """The features of frames that entered as `read`, by one run of the network."""
        assert self._batched is not None
        return self._batched.raise_many(reads)

    def shadow(self, container: Container) -> NDArray[np.uint8] | None:
        """The picture that went along, as the network's input. Raises BitstreamError if it is none."""
        layers = [Layer(0, layer.payload) for layer in container.layers if layer.kind == SHADOW]
        return self._placed(layers, container) if layers else None

    def warm_up(self, batch: int) -> None:
        """Let the runtime allocate before the first frame needs it."""
        frames = batch if self.back.batches else 1
        self.back.run([np.zeros((frames, *shape), np.float32) for shape in self._shapes])
        if self._batched is not None:
            self._batched.warm_up(batch)

    # ---- the doors

    def _features(self, container: Container) -> Halfway:
        return Halfway(features=self._codec.decode(_own(container, self._beside), self._window(container)))

    def _picture(self, container: Container) -> Halfway:
        _check_quality(container, self._pictures.qualities)
        return Halfway(picture=self._placed(container.layers, container))  # none beside it: it is the picture

    def _detections(self, container: Container) -> Halfway:
        _check_quality(container, self._lists.qualities)
        found = self._lists.decode(_own(container), container.width, container.height)
        return Halfway(detections=[d for d in found if d.score >= self._min_score])

    def _window(self, container: Container) -> Window:
        return self._input.window(container.width, container.height)

    def _placed(self, layers: Sequence[Layer], container: Container) -> NDArray[np.uint8]:
        box = self._input.box(container.width, container.height)
        return place(self._pictures.decode(layers, box), box, self._input.width, self._input.pad)


def _check_quality(container: Container, there: range) -> None:
    quality = container.quality
    check(quality in there, "quality", f"{there[0]} to {there[-1]} with codec {container.codec}", quality)


def _own(container: Container, beside: frozenset[int] = frozenset()) -> list[Layer]:
    """The layers that the result is made of: not those that a bundle has for the picture, `beside` them."""
    return [layer for layer in container.layers if layer.kind != SHADOW and layer.kind not in beside]
