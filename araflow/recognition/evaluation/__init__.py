"""From windows to figures: scores per video, fusion of streams, metrics, tables."""

__all__ = ["answers", "evaluate", "fusion", "metrics", "paired", "scores", "tables", "write"]
