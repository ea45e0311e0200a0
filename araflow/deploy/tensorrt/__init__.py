"""deploy/tensorrt."""
