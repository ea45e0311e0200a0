"""deploy/onnx."""
