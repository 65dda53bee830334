"""The back half of a detector: features to detections, by ONNX Runtime. What coded the features is not its business.

back.onnx takes the cut's tensors [N, ...] and gives `scores` [N, A, L] and `boxes` [N, A, 4] in network pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from common import geometry
from common.bundle import Bundle
from common.codec import Features
from common.errors import BundleError
from common.network.session import shared_session
from common.types import Detection

FILE = "back.onnx"
_TOGETHER = 2
"""Frames in one run, at most, where threads share a batch: with more, what is between the layers leaves the cache."""

Raw = tuple[NDArray[np.float32], NDArray[np.float32]]
"""scores [A, L] and boxes [A, 4] of one frame."""


class Back:
    """The back half of one bundle. Detections below `min_score` are not worth keeping, whatever the bundle says."""

    def __init__(self, bundle: Bundle, threads: int, min_score: float) -> None:
        self._bundle = bundle
        self._threshold = max(bundle.manifest.detector.score_threshold, min_score)
        self._session = shared_session(bundle, FILE, 1)
        self._pool = ThreadPoolExecutor(threads, "back") if threads > 1 else None
        self._threads = threads
        self._tensors = bundle.manifest.cut.names
        taken = {i.name: i.shape for i in self._session.get_inputs()}
        if set(taken) != set(self._tensors):
            raise BundleError(f"{FILE} of {bundle!r} takes {sorted(taken)}, not {self._tensors}")
        self.batches = not any(isinstance(shape[0], int) for shape in taken.values())
        """Whether it takes more than one frame at a time."""

    def run(self, features: Sequence[Features]) -> list[Raw]:
        """The cut's tensors, each [N, ...], to what the network says of each frame.

        Each thread runs a part of the batch for itself: threads that share one frame wait for each other.
        """
        frames = len(features[0])
        if self._pool is None or frames == 1:
            return self._run(features)
        count = min(frames, max(self._threads, -(-frames // _TOGETHER)))
        parts = zip(*(np.array_split(tensor, count) for tensor in features), strict=True)
        return [raw for part in self._pool.map(self._run, parts) for raw in part]

    def _run(self, features: Sequence[Features]) -> list[Raw]:
        fed = dict(zip(self._tensors, features, strict=True))
        scores, boxes = self._session.run(["scores", "boxes"], fed)
        return list(zip(scores, boxes, strict=True))

    def detections(self, raw: Raw, width: int, height: int) -> list[Detection]:
        """What is in a picture of this size, best first, in its own pixels."""
        detector = self._bundle.manifest.detector
        kept = geometry.nms(*raw, self._threshold, detector.nms_iou, detector.max_detections)
        boxes = geometry.to_picture(kept.boxes, self._bundle.manifest.input.box(width, height))
        # Rounded as float64, so that they are as short as JSON; finer than a 320-pixel network can tell.
        return [
            Detection(detector.labels[label], score, (x1, y1, x2, y2))
            for label, score, (x1, y1, x2, y2) in zip(
                kept.labels.tolist(),
                np.round(kept.scores.astype(np.float64), 4).tolist(),
                np.round(np.nan_to_num(boxes.astype(np.float64)), 2).tolist(),  # JSON has no NaN
                strict=True,
            )
        ]
