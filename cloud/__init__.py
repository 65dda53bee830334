"""The cloud service: ingest, decode, detect, store, answer."""

import common  # noqa: F401 - before ONNX Runtime, whose telemetry it turns off
