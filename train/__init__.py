"""Networks, losses, one training loop, recipes, export to bundles. The only place that trains."""

import common  # noqa: F401 - before ONNX Runtime, whose telemetry it turns off
