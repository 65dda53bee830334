"""The edge service: source, encode, spool, uplink."""

import common  # noqa: F401 - before ONNX Runtime, whose telemetry it turns off
