"""The back half of a detector: features to detections, by ONNX Runtime. What coded the features is not its business.

back.onnx takes the cut tensor [N, C, H, W] and gives `scores` [N, A, L] and `boxes` [N, A, 4] in network pixels.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from common import geometry
from common.bundle import Bundle
from common.errors import BundleError
from common.types import Detection

FILE = "back.onnx"

Features = NDArray[np.float32]
Raw = tuple[NDArray[np.float32], NDArray[np.float32]]
"""scores [A, L] and boxes [A, 4] of one frame."""

_letterbox = lru_cache(maxsize=1024)(geometry.letterbox_geometry)


class Back:
    """The back half of one bundle. Detections below `min_score` are not worth keeping, whatever the bundle says."""

    def __init__(self, bundle: Bundle, threads: int, min_score: float) -> None:
        self._bundle = bundle
        self._threshold = max(bundle.manifest.detector.score_threshold, min_score)
        self._session = _session(bundle)
        self._pool = ThreadPoolExecutor(threads, "back") if threads > 1 else None
        self._threads = threads
        self._size = _square(bundle)
        taken = self._session.get_inputs()[0]
        self.batches = not isinstance(taken.shape[0], int)
        """Whether it takes more than one frame at a time."""
        if taken.name != bundle.manifest.cut.tensor:
            raise BundleError(f"{FILE} of {bundle!r} takes {taken.name!r}")

    def run(self, features: Features) -> list[Raw]:
        """[N, C, H, W] to what the network says of each frame.

        Each thread runs a part of the batch for itself: threads that share one frame wait for each other.
        """
        if self._pool is None or len(features) == 1:
            return self._run(features)
        parts = np.array_split(features, min(self._threads, len(features)))
        return [raw for part in self._pool.map(self._run, parts) for raw in part]

    def _run(self, features: Features) -> list[Raw]:
        scores, boxes = self._session.run(["scores", "boxes"], {self._bundle.manifest.cut.tensor: features})
        return list(zip(scores, boxes, strict=True))

    def detections(self, raw: Raw, width: int, height: int) -> list[Detection]:
        """What is in a picture of this size, best first, in its own pixels."""
        detector = self._bundle.manifest.detector
        kept = geometry.nms(*raw, self._threshold, detector.nms_iou, detector.max_detections)
        boxes = geometry.to_picture(kept.boxes, _letterbox(width, height, self._size))
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


def _session(bundle: Bundle) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(bundle.file(FILE), options, providers=["CPUExecutionProvider"])
    except BundleError:
        raise
    except Exception as e:  # ONNX Runtime's own exceptions have no common root
        raise BundleError(f"{FILE} of {bundle!r} is not a network that ONNX Runtime takes: {e}") from e


def _square(bundle: Bundle) -> int:
    taken = bundle.manifest.input
    if taken.width != taken.height or taken.pad != geometry.GREY:
        raise BundleError(f"{bundle!r} wants {taken}; only squares with a border of {geometry.GREY} are known")
    return taken.width
