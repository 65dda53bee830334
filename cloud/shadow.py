"""Checks results by the picture, where an edge sent one along: how far they agree with the uncoded network's.

It has a thread of its own and a short queue; what does not fit is counted and dropped. So no result waits for a check,
but where the back half is torchvision's: that runs one frame at a time, and a check may be the one before.
"""

import threading
from contextlib import suppress
from queue import Empty, Full, Queue

import numpy as np
import structlog

from cloud.detector import Detector
from cloud.frame import Result
from common import geometry
from common.codec import Container, Kind
from common.errors import BitstreamError
from common.payload import SHADOW
from common.telemetry import Metrics
from common.types import Detection

MIN_SCORE = 0.3
"""Of detections that ought to be found again. Any score will do for what is found again: .29 for .31 is no miss."""
MIN_IOU = 0.5
_QUEUE = 8
_WORTH = {Kind.BASE: -1, SHADOW: 1}
"""What a byte of a layer of this kind saves: the picture would have been needed, what stands for it is."""
_MAX_CAMERA_LABELS = 1000

log = structlog.get_logger()

Job = tuple[Detector, Result]


def agreement(of: list[Detection], against: list[Detection]) -> float | None:
    """Share of the detections from MIN_SCORE up that the other side has too, with the same label, at MIN_IOU.

    None where there is nothing to find again.
    """
    wanted = [d for d in of if d.score >= MIN_SCORE]
    if not wanted:
        return None
    return sum(_has(against, d) for d in wanted) / len(wanted)


def _has(found: list[Detection], wanted: Detection) -> bool:
    boxes = np.array([d.box for d in found if d.label == wanted.label], np.float64).reshape(-1, 4)
    return bool((geometry.iou_matrix(np.array([wanted.box]), boxes) >= MIN_IOU).any())


def is_shadowed(container: Container) -> bool:
    """Whether a picture went along."""
    return any(layer.kind == SHADOW for layer in container.layers)


class Shadow:
    """`offer` results; `stop` when no more come."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._queue: Queue[Job | None] = Queue(_QUEUE)
        self._cameras: set[str] = set()
        self._thread: threading.Thread | None = None

    def offer(self, detector: Detector, result: Result) -> None:
        """Check this result some time, if there is room for it. Never blocks."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((detector, result))
        except Full:
            self._metrics.dropped.labels("shadow checks behind").inc()

    def stop(self) -> None:
        """End the thread; what is still queued is not checked."""
        if self._thread is None:
            return
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while job := self._queue.get():
            try:
                self._check(*job)
            except BitstreamError as e:
                log.warning("no picture to check by", frame=job[1].frame.id, error=str(e))
                self._metrics.decode_errors.labels("shadow").inc()
            except Exception:  # a check that fails must not end all that follow
                log.exception("check failed", frame=job[1].frame.id)

    def _check(self, detector: Detector, result: Result) -> None:
        picture = detector.shadow(result.frame.container)
        if picture is None or detector.front is None:
            return
        container, metrics = result.frame.container, self._metrics
        (raw,) = detector.back.run([tensor[None] for tensor in detector.front.run(picture)])
        reference = detector.back.detections(raw, container.width, container.height)
        camera = self._label(result.frame.camera)
        pairs = {"reference": (reference, result.detections), "result": (result.detections, reference)}
        for of, (these, others) in pairs.items():
            if (share := agreement(these, others)) is not None:
                metrics.shadow_agreement.labels(camera, of).observe(share)
        saved = sum(_WORTH.get(x.kind, 0) * len(x.payload) for x in container.layers)
        metrics.shadow_saved.labels(camera).inc(max(0, saved))

    def _label(self, camera: str) -> str:
        """Camera names come from outside, so the labels are bounded."""
        if camera not in self._cameras and len(self._cameras) >= _MAX_CAMERA_LABELS:
            return "other"
        self._cameras.add(camera)
        return camera
