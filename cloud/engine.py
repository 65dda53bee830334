"""The engine: one thread that owns the networks and turns frames into results, in order, in batches.

A batch is frames that were waiting together; those of one bundle go through its networks together. A frame that is
alone waits `wait_ms` for company; one that finds company does not wait. Whatever is wrong with a frame is its own: its
neighbours in the batch go on.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np
import structlog

from cloud.detector import Detector, Halfway
from cloud.frame import Frame, Origin, Outcome, Reason, Refused, Result
from cloud.shadow import Shadow, is_shadowed
from cloud.states import MAX_BYTES, States
from common.bundle import Bundle
from common.errors import BitstreamError, BundleError, MissingReferenceError
from common.network.back import Raw
from common.telemetry import Metrics

log = structlog.get_logger()

_MOST_DETECTORS = 8
"""Loaded at once; of more, the one used least recently is loaded again with its next frame."""


@dataclass(slots=True)
class _Work:
    """A frame on its way through the engine's steps."""

    frame: Frame
    submitted_ns: int = field(default_factory=time.monotonic_ns)
    timing: dict[str, float] = field(default_factory=dict)
    refused: Refused | None = None
    origin: Origin | None = None
    at: Halfway = field(default_factory=Halfway)
    raw: Raw | None = None

    def outcome(self) -> Outcome:
        if self.refused:
            return self.refused
        assert self.origin is not None and self.at.detections is not None
        return Result(self.frame, self.origin, self.at.detections, self.timing, time.monotonic_ns(), self.at.standing)


class Engine:
    """`start` it with somewhere to deliver, `submit` frames, `stop` it: it finishes what it was given."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        batch_max: int,
        wait_ms: float,
        threads: int,
        min_score: float,
        references_max_bytes: int = MAX_BYTES,
    ) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._batch_max = batch_max
        self._wait_s = wait_ms / 1000
        self._threads = threads
        self._min_score = min_score
        self._detectors: OrderedDict[str, Detector] = OrderedDict()
        """By digest, the one used last at the end."""
        self._loaded = threading.Lock()
        self._metrics = metrics
        self.states = States(references_max_bytes)
        """What frames left for those coded after them. Of the engine's thread, but for its name."""
        self.states.on_dropped = lambda reason: metrics.references_dropped.labels(reason).inc()
        self._shadow = Shadow(metrics)
        self._deliver: Callable[[list[Frame], list[Outcome]], None]
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def prepare(self, bundle: Bundle) -> None:
        """Load a bundle's networks now rather than with its first frame. From any thread. Raises BundleError."""
        try:
            if (detector := self._found(bundle)) is None:
                detector = self._opened(bundle)
                detector.warm_up(self._batch_max)
                self._keep(bundle, detector)
        except BundleError:
            raise
        except Exception as e:  # ONNX Runtime's own exceptions have no common root
            raise BundleError(f"{bundle!r} does not work: {e}") from e

    def forget(self, bundle: Bundle) -> None:
        """Let go of a bundle's networks until a frame needs them."""
        with self._loaded:
            self._detectors.pop(bundle.digest, None)

    def start(self, deliver: Callable[[list[Frame], list[Outcome]], None]) -> None:
        """`deliver` is called in the engine's thread with a batch and its outcomes, in the order of submission."""
        self._deliver = deliver
        self._thread.start()

    def submit(self, frame: Frame) -> None:
        """Queue a frame. Never blocks: how many are queued is bounded by who submits."""
        self._queue.put(_Work(frame))

    def stop(self) -> None:
        """Finish the queue and end the thread. Blocks until then."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._shadow.stop()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    # ---- in the thread

    def _run(self) -> None:
        while batch := self._next_batch():
            self._metrics.queue_depth.labels("engine").set(self._queue.qsize())
            self._metrics.batch_size.observe(len(batch))
            self._process(batch)
            self._metrics.reference_bytes.set(self.states.bytes)
            for work in batch:
                self._observe(work)
            outcomes = [work.outcome() for work in batch]
            self._deliver([work.frame for work in batch], outcomes)
            for outcome in outcomes:
                if isinstance(outcome, Result) and is_shadowed(outcome.frame.container):
                    self._shadow.offer(self._detector(outcome.frame.bundle), outcome)

    def _next_batch(self) -> list[_Work]:
        """None when the engine is stopped."""
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < self._batch_max:
            following = self._following(wait=len(batch) == 1)
            if following is None:
                break
            batch.append(following)
        return batch

    def _following(self, *, wait: bool) -> _Work | None:
        try:
            work = self._queue.get(timeout=self._wait_s) if wait else self._queue.get_nowait()
        except Empty:
            return None
        if work is None:
            self._queue.put(None)  # the order to stop, for the next call
        return work

    def _process(self, batch: list[_Work]) -> None:
        for part in _parts(batch):
            self._admit(part)
            by_bundle: dict[str, list[_Work]] = {}
            for work in part:
                by_bundle.setdefault(work.frame.bundle.digest, []).append(work)
            for together in by_bundle.values():
                self._detect(together)

    def _detect(self, batch: list[_Work]) -> None:
        """Frames of one bundle."""
        try:
            detector = self._detector(batch[0].frame.bundle)
        except Exception as e:  # whatever is wrong with a bundle, the frames of others must get through
            log.exception("bundle unusable")
            said = str(e) if isinstance(e, BundleError) else f"bundle unusable: {type(e).__name__}"
            for work in batch:
                work.refused = Refused(Reason.FAILED, said)
            return
        self._enter(batch, detector)
        # Each step takes the frames that stand before it: a picture needs them all, detections none.
        self._each([w for w in batch if w.at.picture is not None], "front", lambda work: _front(detector, work))
        ready = [w for w in batch if w.at.features is not None]
        self._at_once(ready, "back", lambda works: _back(detector, works), batches=detector.back.batches)
        self._each([w for w in batch if w.raw is not None], "nms", lambda work: _detect(detector, work))

    def _admit(self, batch: list[_Work]) -> None:
        """Stop what nobody waits for any more before it costs anything."""
        picked_ns, now_us = time.monotonic_ns(), time.time_ns() // 1000
        for work in batch:
            _took(work, "batch", picked_ns - work.submitted_ns)
            self._in_order(work)
            expires_us = work.frame.expires_us
            if expires_us is not None and expires_us < now_us:
                late = (now_us - expires_us) / 1e6
                work.refused = Refused(Reason.EXPIRED, f"expired {late:.3f} s before its turn in the cloud")

    def _in_order(self, work: _Work) -> None:
        try:
            self.states.check(work.frame)
        except MissingReferenceError as e:
            work.refused = Refused(Reason.MISSING_REFERENCE, str(e))

    def _each(self, batch: list[_Work], stage: str, step: Callable[[_Work], None]) -> None:
        for work in batch:
            if work.refused:
                continue
            started = time.monotonic_ns()
            try:
                step(work)
            except BitstreamError as e:
                work.refused = Refused(Reason.CORRUPT, str(e))
            except MissingReferenceError as e:
                work.refused = Refused(Reason.MISSING_REFERENCE, str(e))
            except Exception as e:  # a frame that breaks a step must not take the engine down
                log.exception("step failed", stage=stage, frame=work.frame.id, camera=work.frame.camera)
                work.refused = Refused(Reason.FAILED, f"{stage}: {type(e).__name__}")
            _took(work, stage, time.monotonic_ns() - started)

    def _enter(self, batch: list[_Work], detector: Detector) -> None:
        """In order, as one may be coded after another; then at once what a network makes features of."""
        self._each(batch, "decode_features", lambda work: _enter(detector, self.states, work))
        read = [work for work in batch if work.at.read is not None]
        self._at_once(read, "decode_features", lambda works: _raise(detector, works))

    def _at_once(
        self, batch: list[_Work], stage: str, step: Callable[[list[_Work]], None], *, batches: bool = True
    ) -> None:
        """All of the batch in one step; one at a time if the network takes only one, or fails on the batch."""
        ready = [work for work in batch if not work.refused]
        if batches and len(ready) > 1:
            started = time.monotonic_ns()
            try:
                step(ready)
            except Exception:  # whichever frame it is, alone it will show
                log.exception("batch failed, trying its frames alone", stage=stage, frames=len(ready))
            else:
                for work in ready:
                    _took(work, stage, time.monotonic_ns() - started)
                return
        self._each(ready, stage, lambda work: step([work]))

    def _observe(self, work: _Work) -> None:
        for stage, ms in work.timing.items():
            self._metrics.stage.labels(stage).observe(ms / 1e3)

    # ---- what is loaded

    def _detector(self, bundle: Bundle) -> Detector:
        if (detector := self._found(bundle)) is None:
            detector = self._opened(bundle)
            self._keep(bundle, detector)
        return detector

    def _opened(self, bundle: Bundle) -> Detector:
        return Detector(bundle, self._threads, self._min_score)

    def _found(self, bundle: Bundle) -> Detector | None:
        with self._loaded:
            if bundle.digest in self._detectors:
                self._detectors.move_to_end(bundle.digest)
            return self._detectors.get(bundle.digest)

    def _keep(self, bundle: Bundle, detector: Detector) -> None:
        with self._loaded:
            self._detectors[bundle.digest] = detector
            while len(self._detectors) > _MOST_DETECTORS:
                self._detectors.popitem(last=False)


def _parts(batch: list[_Work]) -> list[list[_Work]]:
    """The batch in its order, in parts in which no camera has frames of two bundles.

    Bundles go one after the other, and a frame may have to wait for one before it that turns out to lack its reference.
    """
    parts: list[list[_Work]] = [[]]
    bundles: dict[tuple[str, str], str] = {}
    for work in batch:
        of, digest = (work.frame.key[0], work.frame.camera), work.frame.bundle.digest
        if bundles.setdefault(of, digest) != digest:
            parts.append([])
            bundles = {of: digest}
        parts[-1].append(work)
    return parts


def _enter(detector: Detector, states: States, work: _Work) -> None:
    states.check(work.frame)  # one before it in the batch may have been found to have no reference
    try:
        work.origin, work.at = detector.enter_frame(work.frame, states)
    except MissingReferenceError:
        states.missing(work.frame)
        raise


def _took(work: _Work, stage: str, ns: int) -> None:
    """Some time of a stage, which may have two parts."""
    work.timing[stage] = work.timing.get(stage, 0.0) + ns / 1e6


def _raise(detector: Detector, batch: list[_Work]) -> None:
    raised = detector.raise_many([work.at.read for work in batch if work.at.read is not None])
    for work, features in zip(batch, raised, strict=True):
        work.at.features = features


def _front(detector: Detector, work: _Work) -> None:
    assert work.at.picture is not None and detector.front is not None
    work.at.features = detector.front.run(work.at.picture)


def _back(detector: Detector, batch: list[_Work]) -> None:
    cuts = zip(*(work.at.features for work in batch if work.at.features is not None), strict=True)
    raws = detector.back.run([np.stack(tensors) for tensors in cuts])
    for work, raw in zip(batch, raws, strict=True):
        work.raw = raw


def _detect(detector: Detector, work: _Work) -> None:
    assert work.raw is not None
    container = work.frame.container
    work.at.detections = detector.back.detections(work.raw, container.width, container.height)
