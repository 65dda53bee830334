"""Metric names and log format, the same on both sides.

Prometheus conventions: base units, bounded labels (a camera may be one, a frame id never).
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_STAGE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600)
_BYTES_BUCKETS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 1_000_000)
_SHARE_BUCKETS = (0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.999, 1)


class Metrics:
    """The metrics of one service, on a registry of its own so that tests can build many."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = r = CollectorRegistry()
        self.frames = Counter(
            "midstream_frames", "Frames by camera and how they ended.", ["camera", "outcome"], registry=r
        )
        self.stage = Histogram(
            "midstream_stage_duration_seconds",
            "Time a frame spent in a stage.",
            ["stage"],
            registry=r,
            buckets=_STAGE_BUCKETS,
        )
        self.feature_bytes = Histogram(
            "midstream_feature_bytes",
            "Coded bytes of one frame's layer.",
            ["layer"],
            registry=r,
            buckets=_BYTES_BUCKETS,
        )
        self.dropped = Counter("midstream_dropped", "Frames or layers given up.", ["reason"], registry=r)
        self.rules = Counter(
            "midstream_rules", "Results that matched a rule, and what became of it.", ["rule", "outcome"], registry=r
        )
        self.decode_errors = Counter("midstream_decode_errors", "Packets refused by the decoder.", ["kind"], registry=r)
        self.queue_depth = Gauge("midstream_queue_depth", "Frames waiting.", ["queue"], registry=r)
        self.batch_size = Histogram(
            "midstream_batch_size", "Frames per model call.", registry=r, buckets=(1, 2, 4, 8, 16, 32)
        )
        self.spool_bytes = Gauge("midstream_spool_bytes", "Bytes held in the spool.", ["kind"], registry=r)
        self.spool_oldest_age = Gauge(
            "midstream_spool_oldest_age_seconds", "Age of the oldest frame not yet acked.", registry=r
        )
        self.e2e_latency = Histogram(
            "midstream_e2e_latency_seconds",
            "From acceptance at the edge to the result in the database.",
            registry=r,
            buckets=_LATENCY_BUCKETS,
        )
        self._add_points(r)
        self._add_references(r)
        self.link_up = Gauge("midstream_link_up", "1 while the stream to the other side is open.", registry=r)
        self.link_bytes = Counter("midstream_link_bytes", "Payload bytes over the link.", ["dir"], registry=r)
        Info("midstream_build", "What is running.", registry=r).info({"service": service, "version": version})

    def _add_references(self, r: CollectorRegistry) -> None:
        self.reference_bytes = Gauge(
            "midstream_reference_bytes", "Held of frames so that others can be coded after them.", registry=r
        )
        self.references_dropped = Counter(
            "midstream_references_dropped",
            "What would have been references, or may have been some, and why it is not held.",
            ["reason"],
            registry=r,
        )

    def _add_points(self, r: CollectorRegistry) -> None:
        self.operating_point = Gauge(
            "midstream_operating_point", "Quality new frames are coded with.", ["camera"], registry=r
        )
        self.mode = Gauge("midstream_mode", "1 for the mode of new frames.", ["camera", "mode"], registry=r)
        self.point_changes = Counter(
            "midstream_point_changes", "Operating points changed by the edge itself, and why.", ["cause"], registry=r
        )
        self.goodput = Gauge(
            "midstream_goodput_bytes_per_second",
            "What the link was seen to carry; +Inf while it never was the limit.",
            registry=r,
        )
        self.shadow_agreement = Histogram(
            "midstream_shadow_agreement",
            "Share of one side's detections that the other side has too, over frames that were also sent as a picture.",
            ["camera", "of"],
            registry=r,
            buckets=_SHARE_BUCKETS,
        )
        self.shadow_saved = Counter(
            "midstream_shadow_saved_bytes",
            "What those frames needed less than their pictures.",
            ["camera"],
            registry=r,
        )


def setup_logging(service: str, level: str = "INFO", json: bool | None = None) -> None:
    """Log to stderr: JSON lines, or columns for a person when stderr is a terminal."""
    if json is None:
        json = not sys.stderr.isatty()

    def name(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            name,
            *(
                [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
                if json
                else [structlog.dev.ConsoleRenderer()]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
