"""From video files to labels and embeddings, by the same windows that evaluation sees."""

__all__ = ["features", "predict", "runners", "saving", "video_flow"]
