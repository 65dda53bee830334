"""What the edge counts: common/telemetry.py's metrics, with labels bounded and looked up once."""

import math
from collections.abc import Mapping

from prometheus_client import generate_latest

from common.telemetry import Metrics
from common.types import Mode
from edge.encode import SENT, Encoded
from edge.points import Point
from edge.spool import Ended, Stats, now_us

OTHER = "other"


class Meter:
    """Called once per frame, so it keeps what `labels()` found."""

    def __init__(self, metrics: Metrics, max_cameras: int) -> None:
        self.metrics = metrics
        self._max_cameras = max_cameras
        self._known: set[str] = set()
        here = ("decode_picture", "front", "back", "nms", "code", "spool", "queue", "enhance")
        self._stages = {s: metrics.stage.labels(s) for s in here}
        self._base, self._shadow = metrics.feature_bytes.labels("base"), metrics.feature_bytes.labels("shadow")
        self._sent, self._received = metrics.link_bytes.labels("out"), metrics.link_bytes.labels("in")
        self._points: dict[str, Point] = {}

    def camera(self, name: str) -> str:
        """The label for this camera: its name, unless there are too many names."""
        if name not in self._known:
            if len(self._known) >= self._max_cameras:
                return OTHER
            self._known.add(name)
        return name

    def encoded(self, camera: str, encoded: Encoded) -> None:
        """A frame was coded."""
        self.stages(encoded.timing)
        self._base.observe(encoded.base_bytes)
        if encoded.shadow_bytes:
            self._shadow.observe(encoded.shadow_bytes)
        if encoded.pixels and encoded.pixels != SENT:
            self.refused(f"pixels {encoded.pixels.partition(':')[0]}")
        label = self.camera(camera)
        if self._points.get(label) != encoded.point:
            self._points[label] = encoded.point
            self.metrics.operating_point.labels(label).set(encoded.point.quality)
            for mode in Mode:
                self.metrics.mode.labels(label, mode).set(mode is encoded.point.mode)

    def enhanced(self, sizes: Mapping[str, int], seconds: float) -> None:
        """Enhancements of a picture were coded: the bytes of each, and the time of all."""
        self._stages["enhance"].observe(seconds)
        for layer, size in sizes.items():
            self.metrics.feature_bytes.labels(layer).observe(size)

    def point_changed(self, cause: str) -> None:
        """The edge moved a camera to another operating point."""
        self.metrics.point_changes.labels(cause).inc()

    def stages(self, milliseconds: Mapping[str, float]) -> None:
        """A frame spent so long in each of these stages."""
        for stage, ms in milliseconds.items():
            self._stages[stage].observe(ms / 1e3)

    def ended(self, ended: Ended) -> None:
        """A frame reached its final state."""
        self.metrics.frames.labels(self.camera(ended.camera), ended.state).inc()
        if ended.state != "done":
            self.metrics.dropped.labels(ended.reason).inc()

    def refused(self, reason: str) -> None:
        """A frame or a layer was not taken or not kept."""
        self.metrics.dropped.labels(reason).inc()

    def corrupt(self) -> None:
        """The cloud could not decode a packet."""
        self.metrics.decode_errors.labels("nack").inc()

    def anew(self) -> None:
        """A frame was coded again, alone, because the cloud did not hold what it was coded after."""
        self.metrics.decode_errors.labels("missing reference").inc()

    def unreferenced(self, reason: str) -> None:
        """What a frame, or those of a camera, left cannot be kept for those coded after it."""
        self.metrics.references_dropped.labels(reason).inc()

    def sent(self, size: int) -> None:
        """Payload bytes went up."""
        self._sent.inc(size)

    def received(self, size: int) -> None:
        """Message bytes came down."""
        self._received.inc(size)

    def acked(self, accepted_us: int) -> None:
        """The result of a frame accepted then is in the cloud's database now."""
        self.metrics.e2e_latency.observe(max(0.0, (now_us() - accepted_us) / 1e6))

    def link(self, up: bool) -> None:
        """The stream opened or closed."""
        self.metrics.link_up.set(up)

    def expose(self, stats: Stats, encoding: int, references: int, in_flight: int, goodput: float | None) -> bytes:
        """Everything in Prometheus' text format."""
        m = self.metrics
        m.goodput.set(math.inf if goodput is None else goodput)
        m.queue_depth.labels("encode").set(encoding)
        m.reference_bytes.set(references)
        m.queue_depth.labels("spool").set(stats.queued)
        m.queue_depth.labels("in_flight").set(in_flight)
        m.spool_bytes.labels("frames").set(stats.queued_bytes)
        m.spool_bytes.labels("pictures").set(stats.picture_bytes)
        m.spool_oldest_age.set((now_us() - stats.oldest_us) / 1e6 if stats.oldest_us else 0)
        return generate_latest(m.registry)
