"""The three ways a frame can go: how far through the network it comes here before it travels, and as what.

    picture ──► front ──► features ──► back ──► detections
       │                     │                      │
     Image                 Split                   Edge

A way has the face of a codec (id, name, qualities); which one a frame takes is said by its operating point alone.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common import feature_codec
from common.bundle import Bundle
from common.codec import Coded, Layer, State, TemporalCodec
from common.geometry import Letterbox, window
from common.network.back import Back
from common.network.front import Front
from common.payload import DetectionList, PictureCodec
from common.payload.picture import place
from common.types import Mode


class Laps:
    """How long each stage took, in milliseconds."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, stage: str) -> None:
        """A stage has ended and the next begins."""
        now = time.perf_counter()
        self.ms[stage] = round((now - self._last) * 1e3, 3)
        self._last = now


@dataclass(frozen=True, slots=True)
class View:
    """What the network would see of a picture: the content [h, w, 3], upright, and where in the input it belongs."""

    content: NDArray[np.uint8]
    box: Letterbox
    size: int
    pad: int

    def whole(self) -> NDArray[np.uint8]:
        """The network's input, [size, size, 3]."""
        return place(self.content, self.box, self.size, self.pad)


class Network:
    """A bundle's halves; the back half is loaded when a frame first needs it. Shared by all threads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.front = Front(bundle, threads)
        self.threads = threads
        self._bundle = bundle
        self._back: Back | None = None
        self._loading = threading.Lock()

    @property
    def back(self) -> Back:
        """Raises BundleError if it does not load."""
        with self._loading:
            if self._back is None:
                self._back = Back(self._bundle, 1, 0.0)
            return self._back


class Way(Protocol):
    """From a view to the layers that travel."""

    @property
    def id(self) -> int:
        """In every container."""
        ...

    @property
    def name(self) -> str:
        """Of what travels."""
        ...

    @property
    def qualities(self) -> Collection[int]:
        """Which there are; more is better."""
        ...

    @property
    def default_quality(self) -> int:
        """The one to use when nobody asks for another."""
        ...

    def prepare(self) -> None:
        """Load what is not loaded yet. Raises BundleError."""
        ...

    def encode(self, view: View, quality: int, laps: Laps) -> list[Layer]:
        """The base layer first; tells `laps` of each stage."""
        ...


class Split:
    """The front half here, the back half in the cloud."""

    def __init__(self, bundle: Bundle, network: Callable[[], Network]) -> None:
        self._network = network()
        self._codec = feature_codec.of(bundle, self._network.threads)
        # Found out once: whether a class keeps a protocol is not told quickly.
        self._temporal = self._codec if isinstance(self._codec, TemporalCodec) else None
        self.id, self.name = self._codec.id, self._codec.name
        self.qualities, self.default_quality = self._codec.qualities, self._codec.default_quality

    def prepare(self) -> None:
        """All is loaded."""

    @property
    def temporal(self) -> bool:
        """Whether `encode_after` can be asked."""
        return self._temporal is not None

    def encode_after(self, view: View, quality: int, laps: Laps, before: State | None, keep: bool) -> Coded:
        """Features, after those of an earlier frame if that helps; and what they leave for others."""
        assert self._temporal is not None
        features = self._network.front.run(view.whole())
        laps.done("front")
        found = self._temporal.encode_after(features, quality, window(view.box, view.size), before, keep)
        laps.done("code")
        return found

    def encode(self, view: View, quality: int, laps: Laps) -> list[Layer]:
        """Features."""
        features = self._network.front.run(view.whole())
        laps.done("front")
        layers = self._codec.encode(features, quality, window(view.box, view.size))
        laps.done("code")
        return layers


class Image:
    """The whole network in the cloud."""

    def __init__(self, bundle: Bundle, network: Callable[[], Network]) -> None:
        self._codec = PictureCodec()
        self.id, self.name = self._codec.id, self._codec.name
        self.qualities, self.default_quality = self._codec.qualities, self._codec.default_quality

    def prepare(self) -> None:
        """There is nothing to load."""

    def encode(self, view: View, quality: int, laps: Laps) -> list[Layer]:
        """The picture."""
        layers = self._codec.encode(view.content, quality)
        laps.done("code")
        return layers


class Edge:
    """The whole network here."""

    def __init__(self, bundle: Bundle, network: Callable[[], Network]) -> None:
        detector = bundle.manifest.detector
        self._codec = DetectionList(detector.labels, detector.max_detections)
        self._network = network()
        self.id, self.name = self._codec.id, self._codec.name
        self.qualities, self.default_quality = self._codec.qualities, self._codec.default_quality

    def prepare(self) -> None:
        """The back half."""
        assert self._network.back

    def encode(self, view: View, quality: int, laps: Laps) -> list[Layer]:
        """Detections."""
        features = self._network.front.run(view.whole())
        laps.done("front")
        back = self._network.back
        (raw,) = back.run([tensor[None] for tensor in features])
        laps.done("back")
        width, height = view.box.picture_w, view.box.picture_h
        found = back.detections(raw, width, height)
        laps.done("nms")
        layers = self._codec.encode(found, width, height)
        laps.done("code")
        return layers


WAYS: dict[Mode, Callable[[Bundle, Callable[[], Network]], Way]] = {
    Mode.SPLIT: Split,
    Mode.IMAGE: Image,
    Mode.EDGE: Edge,
}
