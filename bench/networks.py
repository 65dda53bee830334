"""The detectors that are measured: both halves of a bundle, and NanoDet-m. Pictures in, detections out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.coco import in_picture, letterbox
from bench.pictures import Picture, fitted
from bench.settings import MissingDataError
from cloud.networks import open_back
from common import bundle as bundles
from common.bundle import Bundle, Input
from common.codec import Features
from common.geometry import Detections, nms, to_picture
from common.network.front import Front

THRESHOLD = 0.01
"""Average precision wants the whole curve: far below what a user would show."""


class Split:
    """Any bundle's two halves, as edge and cloud run them. Labels are counted as in the bundle."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.front = Front(bundle, threads)
        self.back = open_back(bundle, threads, 0.0)

    def cut(self, picture: Picture) -> list[Features]:
        """Return the cut's tensors, without the batch, of a picture [H,W,3]."""
        return self.front.run(placed(picture, self.bundle.manifest.input))

    def finish(self, features: Sequence[Features], picture: Picture) -> Detections:
        """Return the detections in the picture [H,W,3] that these features of it show, down to `THRESHOLD`."""
        return self.finish_sized(features, picture.shape[1], picture.shape[0])

    def finish_sized(self, features: Sequence[Features], width: int, height: int) -> Detections:
        """Return the same for a picture of which only the size is at hand."""
        (raw,) = self.back.run([tensor[None] for tensor in features])
        detector = self.bundle.manifest.detector
        found = nms(*raw, THRESHOLD, detector.nms_iou, detector.max_detections)
        box = self.bundle.manifest.input.box(width, height)
        return Detections(to_picture(found.boxes, box), found.scores, found.labels)

    def __call__(self, picture: Picture) -> Detections:
        """Return the detections in a picture [H,W,3]."""
        return self.finish(self.cut(picture), picture)


def placed(picture: Picture, taken: Input) -> Picture:
    """Return a bundle's network input for a picture [H,W,3]: letterboxed or stretched (bilinear, antialiased)."""
    return fitted(picture, taken.width, taken.fit, taken.pad)


class NanoDet:
    """NanoDet-m, 320x320: BGR, normalised; scores and an 8-bin distribution per side at strides 8, 16 and 32."""

    MEAN = np.array([103.53, 116.28, 123.675], np.float32)
    STD = np.array([57.375, 57.12, 58.395], np.float32)
    CLASSES = (0, 1, 2, 3, 5, 7, 15, 16)
    """Where our classes stand among the eighty."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.net = session(path, threads)

    def raw(self, image: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return scores [2100,8] and side logits [2100,32] of a network input [320,320,3], RGB; finest cells first."""
        bgr = (image[..., ::-1].astype(np.float32) - self.MEAN) / self.STD
        # By place: the file's names for its outputs are shuffled. Three of scores, then three of sides.
        parts = self.net.run(None, {"image": np.ascontiguousarray(bgr.transpose(2, 0, 1)[None])})
        return np.concatenate(parts[:3])[:, self.CLASSES], np.concatenate(parts[3:])

    def __call__(self, picture: Picture) -> Detections:
        """Return the detections in a picture [H,W,3]."""
        scores, sides = self.raw(letterbox(picture))
        return in_picture(nms(scores, _boxes(sides.reshape(-1, 4, 8)), THRESHOLD), picture)


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return an ONNX file, loaded to run on `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _boxes(sides: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return boxes [2100,4] in network pixels for side logits [2100,4,8]."""
    chance = np.exp(sides - sides.max(-1, keepdims=True))
    strides = np.repeat([8, 16, 32], [1600, 400, 100])[:, None]
    distance = (chance / chance.sum(-1, keepdims=True)) @ np.arange(8) * strides
    grids = [np.stack(np.divmod(np.arange((320 // s) ** 2), 320 // s)[::-1], 1) for s in (8, 16, 32)]
    centre = (np.concatenate(grids) + 0.5) * strides
    return np.concatenate((centre - distance[:, :2], centre + distance[:, 2:]), 1).astype(np.float32)


def shipped(name: str = "embedded") -> Path:
    """Return the folder of a bundle that comes with the cloud: that of the embedded detector, or of this name."""
    for path in sorted((Path(__file__).parents[1] / "cloud" / "bundles").glob("*/" + bundles.MANIFEST)):
        if bundles.parse_manifest(path.read_bytes())[1].name == name:
            return path.parent
    raise MissingDataError(f"no bundle named {name!r} is shipped here: name a bundle's folder with --bundle")
