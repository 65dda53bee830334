"""From validated frames to verdicts: engine, then store, then settle, in that order and in the order of submission.

    submit ──► engine (its thread) ──► finished ──► one writer ──► commit ──► settle (the ack), publish (the events)

What has come in and is not settled is bounded by `queue_max`; `submit` waits when it is full, which stops the
stream that submits. While the database does not answer, the writer tries again for ever: nothing is acked, so
nothing is lost.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import structlog

from cloud.engine import Engine
from cloud.frame import Frame, Key, Outcome, Reason, Refused, Result, Stored, Verdict
from cloud.store import Inserted, Record, Store, StoreError
from common.telemetry import Metrics

log = structlog.get_logger()

_RETRY_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5)
_MAX_CAMERA_LABELS = 1000

Batch = list[tuple[Frame, Outcome]]


class Pipeline:
    """Owns the engine's queue and the only writer of results."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        publish: Callable[[list[Record]], None],
        metrics: Metrics,
        queue_max: int,
    ) -> None:
        self._engine = engine
        self._store = store
        self._publish = publish
        self._metrics = metrics
        self._room = asyncio.Semaphore(queue_max)
        self._unsettled: set[Key] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._finished: asyncio.Queue[Batch] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._camera_labels: set[str] = set()

    def start(self) -> None:
        """Start the engine and the writer on the running loop."""
        loop = asyncio.get_running_loop()

        def deliver(frames: list[Frame], outcomes: list[Outcome]) -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits for verdicts any more
                loop.call_soon_threadsafe(self._finished.put_nowait, list(zip(frames, outcomes, strict=True)))

        self._engine.start(deliver)
        self._writer = asyncio.create_task(self._write(), name="writer")
        self._writer.add_done_callback(_report)

    async def drain(self) -> None:
        """Wait until everything submitted is settled."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Stop the writer and the engine. What is not settled by now will be sent again by its edge."""
        if self._writer:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await asyncio.to_thread(self._engine.stop)

    @property
    def alive(self) -> bool:
        """Whether frames can still get through."""
        return self._engine.alive and self._writer is not None and not self._writer.done()

    def holds(self, key: Key) -> bool:
        """Whether this packet is on its way already."""
        return key in self._unsettled

    async def submit(self, frame: Frame) -> None:
        """Take a frame in, waiting for room. Its `settle` will be called."""
        await self._room.acquire()
        self._unsettled.add(frame.key)
        self._idle.clear()
        self._engine.submit(frame)

    def count(self, camera: str, outcome: str) -> None:
        """One frame has come to its end. Camera names come from outside, so the labels are bounded."""
        if camera not in self._camera_labels:
            if len(self._camera_labels) >= _MAX_CAMERA_LABELS:
                camera = "other"
            self._camera_labels.add(camera)
        self._metrics.frames.labels(camera, outcome).inc()

    async def _write(self) -> None:
        while True:
            batch = await self._finished.get()
            # What finished during the last commit goes into this one: under load, fewer and larger transactions.
            while not self._finished.empty():
                batch.extend(self._finished.get_nowait())
            self._metrics.queue_depth.labels("store").set(len(batch))
            results = [outcome for _, outcome in batch if isinstance(outcome, Result)]
            inserted = await self._insert(results) if results else Inserted([], [], [])
            self._settle(batch, inserted)
            self._metrics.queue_depth.labels("store").set(0)
            self._tell(inserted.new)

    async def _insert(self, results: list[Result]) -> Inserted:
        for attempt in count(1):
            try:
                return await self._store.insert(results)
            except StoreError as e:  # nothing is acked, so nothing is lost: frames wait for the database
                log.warning("trying again", attempt=attempt, reason=str(e))
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS)) - 1])
        raise AssertionError("unreachable")

    def _settle(self, batch: Batch, inserted: Inserted) -> None:
        duplicates = {result.frame for result in inserted.duplicates}
        lost = {r.frame: Refused(Reason.FAILED, f"the database refuses it: {why}") for r, why in inserted.rejected}
        for result in inserted.clashes:
            detail = f"frame_id: {result.frame.id} belongs to another packet"
            lost[result.frame] = Refused(Reason.INVALID, detail)
        for frame, outcome in batch:
            self._unsettled.discard(frame.key)
            self._room.release()
            verdict = _verdict(frame, outcome, duplicates, lost)
            self._observe(frame, verdict, outcome)
            try:
                frame.settle(frame, verdict)
            except Exception:  # one stream's trouble must not stop the writer of all
                log.exception("cannot settle", frame=frame.id)
        if not self._unsettled:
            self._idle.set()

    def _tell(self, new: list[Record]) -> None:
        try:
            self._publish(new)
        except Exception:  # they are stored, and whoever looks finds them; the writer goes on
            log.exception("cannot publish", results=len(new))

    def _observe(self, frame: Frame, verdict: Verdict, outcome: Outcome) -> None:
        if isinstance(verdict, Refused):
            self.count(frame.camera, verdict.reason)
            if verdict.reason is Reason.CORRUPT:
                self._metrics.decode_errors.labels("layer").inc()
            return
        self.count(frame.camera, "duplicate" if verdict.duplicate else "done")
        if isinstance(outcome, Result):
            self._metrics.stage.labels("store").observe((time.monotonic_ns() - outcome.done_ns) / 1e9)
            self._metrics.e2e_latency.observe(max(0.0, time.time() - frame.accepted_us / 1e6))


def _report(writer: asyncio.Task[None]) -> None:
    # A bug. No frame can be stored any more; /livez says so from now on.
    if not writer.cancelled() and writer.exception():
        log.critical("the writer has died", exc_info=writer.exception())


def _verdict(frame: Frame, outcome: Outcome, duplicates: set[Frame], lost: dict[Frame, Refused]) -> Verdict:
    if isinstance(outcome, Refused):
        return outcome
    if frame in lost:
        return lost[frame]
    return Stored(outcome.detections, duplicate=frame in duplicates)
