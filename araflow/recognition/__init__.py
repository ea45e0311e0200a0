"""Recognisers of human actions: trained from a manifest, evaluated, and run on videos.

- ``spec``: the settings of an experiment, and what a recogniser must know of itself (``ModelSpec``).
- ``models``: one file per architecture.
- ``clips``, ``frames``, ``samplers``, ``transforms``, ``data``: from manifest rows to tensors.
- ``experiment``, ``training``, ``evaluation``, ``results``: an experiment from its file to its figures.
- ``training``, ``weights``, ``checkpoint``: the loop (Lightning's), what it starts from, and what it leaves behind.
- ``scores``, ``fusion``, ``metrics``, ``evaluation``: windows, scores per video, figures; ``pictures`` shows them.
- ``predict``, ``features``: from video files to labels and embeddings; ``runners`` opens what computes them.
- ``tao``: NVIDIA TAO's experiment files, read as ours.

One layout everywhere: (batch, channel, time, height, width), float32; rgb channels are R, G, B, flow channels u, v.
Importing this package imports neither torch nor Lightning.
"""
