"""recognition/training."""
