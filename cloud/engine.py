"""The engine: one thread that owns the networks and turns frames into results, in order, in batches.

A batch is frames of one bundle that were waiting together. A frame that is alone waits `wait_ms` for company; one
that finds company does not wait. Whatever is wrong with a frame is its own: its neighbours in the batch go on.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np
import structlog

from cloud.back import Back, Features, Raw
from cloud.frame import Frame, Reason, Refused, Result
from common.bundle import Bundle
from common.codec import CODECS
from common.errors import BitstreamError, BundleError
from common.telemetry import Metrics

log = structlog.get_logger()

Outcome = Result | tuple[Frame, Refused]


class Detector:
    """Both things a bundle needs in the cloud: its codec's decoding half and its back half."""

    def __init__(self, bundle: Bundle, threads: int, min_score: float) -> None:
        params = bundle.manifest.codec
        try:
            self._codec = CODECS[str(params["name"])].from_params(params)
        except (KeyError, ValueError, TypeError) as e:
            raise BundleError(f"the [codec] table of {bundle!r} does not build one of {sorted(CODECS)}: {e!r}") from e
        self.back = Back(bundle, threads, min_score)
        self._shape = bundle.manifest.cut.shape

    def features(self, frame: Frame) -> Features:
        """[C, H, W] of a frame. Raises BitstreamError."""
        if frame.container.codec != self._codec.id:
            raise BitstreamError(f"codec: expected {self._codec.id} ({self._codec.name}), got {frame.container.codec}")
        return self._codec.decode(frame.container.layers)

    def warm_up(self, batch: int) -> None:
        """Let ONNX Runtime allocate before the first frame does."""
        self.back.run(np.zeros((batch if self.back.batches else 1, *self._shape), np.float32))


@dataclass(slots=True)
class _Queued:
    frame: Frame
    at_ns: int = field(default_factory=time.monotonic_ns)


class Engine:
    """`start` it with somewhere to deliver, `submit` frames, `stop` it: it finishes what it was given."""

    def __init__(self, metrics: Metrics, *, batch_max: int, wait_ms: float, threads: int, min_score: float) -> None:
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._batch_max = batch_max
        self._wait_s = wait_ms / 1000
        self._threads = threads
        self._min_score = min_score
        self._detectors: dict[str, Detector] = {}
        self._kept_back: _Queued | None = None
        self._metrics = metrics
        self._depth = metrics.queue_depth.labels("engine")
        self._deliver: Callable[[list[Outcome]], None] = lambda outcomes: None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def prepare(self, bundle: Bundle) -> None:
        """Load a bundle's networks now rather than with its first frame. Raises BundleError."""
        self._detector(bundle).warm_up(self._batch_max)

    def start(self, deliver: Callable[[list[Outcome]], None]) -> None:
        """`deliver` is called in the engine's thread with the outcomes of a batch, in the order of submission."""
        self._deliver = deliver
        self._thread.start()

    def submit(self, frame: Frame) -> None:
        """Queue a frame. Never blocks: what may be queued is bounded by who submits."""
        self._queue.put(_Queued(frame))

    def stop(self) -> None:
        """Finish the queue and end the thread. Blocks until then."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    # ---- in the thread

    def _run(self) -> None:
        while batch := self._next_batch():
            self._depth.set(self._queue.qsize())
            self._deliver(self._process(batch))

    def _next_batch(self) -> list[_Queued]:
        """Frames of one bundle; none when the engine is stopped. A frame of another bundle opens the next batch."""
        first = self._kept_back or self._queue.get()
        self._kept_back = None
        batch = [first] if first else []
        waited = False
        while batch and len(batch) < self._batch_max:
            alone = len(batch) == 1 and not waited
            waited = True
            try:
                following = self._queue.get(timeout=self._wait_s) if alone else self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                self._queue.put(None)  # for the next call
                break
            if following.frame.bundle.digest != batch[0].frame.bundle.digest:
                self._kept_back = following
                break
            batch.append(following)
        return batch

    def _process(self, batch: list[_Queued]) -> list[Outcome]:
        picked_ns, now_us = time.monotonic_ns(), time.time_ns() // 1000
        refusals: dict[Frame, Refused] = {}
        ready: list[tuple[_Queued, Features, float]] = []
        for queued in batch:
            try:
                ready.append(self._decode(queued, now_us))
            except _Refusal as refusal:
                refusals[queued.frame] = refusal.refused
        raws = self._back(batch[0].frame.bundle, [features for _, features, _ in ready]) if ready else []
        ...
        return []

    def _detector(self, bundle: Bundle) -> Detector:
        if bundle.digest not in self._detectors:
            self._detectors[bundle.digest] = Detector(bundle, self._threads, self._min_score)
        return self._detectors[bundle.digest]
