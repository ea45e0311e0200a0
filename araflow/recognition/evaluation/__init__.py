"""recognition/evaluation."""
