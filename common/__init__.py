"""What edge and cloud must agree on: the codec, the bundle, the wire, names and errors."""

import os

# ONNX Runtime's own builds report their use to Microsoft unless this is set before the import. Nothing leaves a camera
# unasked: it is off, unless an operator wants it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
