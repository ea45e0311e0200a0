"""The training of one recogniser: Lightning's loop, what it optimises, and what it leaves behind."""

__all__ = ["rehearsal", "run", "timing"]
