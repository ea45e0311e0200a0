"""The settings of an experiment that nobody has set: from the clips and the machine, each with its reason in words.

- ``choices``: decides, from numbers alone.
- ``settle``: counts a manifest's clips and this machine's cores, and fills in what ``araflow train-eval --spec quick``
  was not told; a run that has begun keeps the settings that it began with.

May import ``spec`` and ``data``.
"""

__all__ = ["choices", "settle"]
