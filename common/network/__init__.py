"""The two halves of a bundle's network in ONNX Runtime. Each side can run either."""
