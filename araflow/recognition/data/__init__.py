"""recognition/data."""
