"""What edge and cloud must agree on: the codec, the bundle, the wire, names and errors."""
