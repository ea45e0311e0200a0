"""Recognisers of human actions: trained from a manifest, evaluated, and run on videos.

- ``spec``, ``streams``: the settings of an experiment, and what a recogniser must know of itself (``ModelSpec``).
- ``models``: one file per architecture; ``networks`` makes them, ``inspect`` looks into them.
- ``data``: from manifest rows to tensors.
- ``flow_storage``, ``same_flow``: how flow was stored, in numbers, and what every command asks where a recogniser meets
  flow of another making; ``frame_storage``: in what form its frames were kept.
- ``experiment``, ``results``: an experiment from its file to its figures; ``tao`` reads NVIDIA TAO's files as ours;
  ``quick`` chooses what is not set.
- ``training``, ``weights``, ``checkpoint``: the loop (Lightning's), what it starts from, and what it leaves behind.
- ``evaluation``: windows, scores per video, figures; ``pictures`` shows them, ``comparison`` holds runs side by side,
  ``sweep`` says what many are worth together.
- ``prediction``: from video files to labels and embeddings.

One layout everywhere: (batch, channel, time, height, width), float32; rgb channels are R, G, B, flow channels u, v.
Importing this package imports neither torch nor Lightning.

May import ``datasets`` and what lies below it; not ``build``, ``report``, ``exports`` or ``deploy``.
"""

__all__ = [
    "checkpoint",
    "comparison",
    "data",
    "evaluation",
    "experiment",
    "flow_storage",
    "frame_storage",
    "inspect",
    "models",
    "networks",
    "pictures",
    "prediction",
    "quick",
    "require",
    "results",
    "same_flow",
    "spec",
    "streams",
    "sweep",
    "tao",
    "training",
    "weights",
]
