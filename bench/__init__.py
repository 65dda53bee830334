"""Measuring: every number in the documentation comes from here."""

import common  # noqa: F401 - before ONNX Runtime, whose telemetry it turns off
