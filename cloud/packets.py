"""From a Packet to a Frame: everything that can be checked without decoding is checked here, once.

The order is that of cost: ranges of the routing fields, then the container's header and checksums, then whether
this cloud holds the bundle it names.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from cloud.frame import Frame, Reason, Refused, Verdict
from cloud.registry import Registry
from common import codec
from common.codec import Kind
from common.errors import BitstreamError, MidstreamError
from common.types import STAGES

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""A coded frame of a 320-pixel network has kilobytes; raw float32 features of the widest sensible cut fit."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

_MAX_SEQ = 2**63 - 1
_END_OF_TIME_US = 4_102_444_800_000_000  # the year 2100: later is no clock that is merely wrong
_MAX_AGE_MS = 2**31
_MAX_STAGE_MS = 1e9
_LIMITS = codec.Limits(max_bytes=MAX_PAYLOAD_BYTES)


class PacketError(MidstreamError):
    """A packet that will never have a result."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refused = Refused(reason, detail)


def frame_of(
    packet: Any, edge: str, epoch: str, received_us: int, registry: Registry, settle: Callable[[Frame, Verdict], None]
) -> Frame:
    """The frame of a packet. Raises PacketError."""
    _check_routing(packet)
    try:
        container = codec.unpack(packet.payload, _LIMITS)
    except BitstreamError as e:
        raise PacketError(Reason.CORRUPT, str(e)) from e
    bundle = registry.by_prefix(container.bundle)
    if bundle is None:
        raise PacketError(Reason.UNKNOWN_BUNDLE, f"no bundle {container.bundle.hex()}… here; ask for the current one")
    expires_us = packet.captured_unix_us + packet.max_age_ms * 1000 if packet.max_age_ms else None
    beside = sum(len(layer.payload) for layer in container.layers if layer.kind != Kind.BASE)
    return Frame(
        key=(edge, epoch, packet.seq),
        id=packet.frame_id,
        camera=packet.camera,
        captured_us=packet.captured_unix_us,
        accepted_us=packet.accepted_unix_us,
        received_us=received_us,
        expires_us=expires_us,
        source_bytes=packet.source_bytes,
        coded_bytes=len(packet.payload) - beside,
        timing=_timing(packet, received_us),
        bundle=bundle,
        container=container,
        settle=settle,
        anew=packet.anew,
    )


def _check_routing(packet: Any) -> None:
    _check(packet.seq <= _MAX_SEQ, "seq", "below 2^63", packet.seq)
    _check(bool(UUID.match(packet.frame_id)), "frame_id", "a UUID in lower case", packet.frame_id)
    _check(bool(NAME.match(packet.camera)), "camera", "1 to 64 of A-Z a-z 0-9 . _ -", packet.camera)
    for name in ("captured_unix_us", "accepted_unix_us", "sent_unix_us"):
        value = getattr(packet, name)
        _check(0 < value < _END_OF_TIME_US, name, "microseconds between 1970 and 2100", value)
    _check(packet.max_age_ms < _MAX_AGE_MS, "max_age_ms", f"below {_MAX_AGE_MS}", packet.max_age_ms)


def _check(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise PacketError(Reason.INVALID, f"{field}: expected {expected}, got {got!r:.100}")


def _timing(packet: Any, received_us: int) -> dict[str, float]:
    """The waterfall up to here. What the edge says is taken for the known stages and sane numbers only."""
    said = packet.edge_ms
    timing = {stage: float(said[stage]) for stage in STAGES if stage in said and _sane_ms(said[stage])}
    timing["wire"] = max(0, received_us - packet.sent_unix_us) / 1000
    return timing


def _sane_ms(ms: float) -> bool:
    return math.isfinite(ms) and 0 <= ms <= _MAX_STAGE_MS
