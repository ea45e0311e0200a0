"""recognition/prediction."""
