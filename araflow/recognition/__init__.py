"""Recognisers of human actions: trained from a manifest, evaluated, and run on videos.

- ``spec``: the settings of an experiment, and what a recogniser must know of itself (``ModelSpec``).
- ``models``: one file per architecture.
- ``samplers``, ``transforms``, ``data``: from manifest rows to tensors.
- ``training``, ``checkpoint``: the loop (Lightning's), and what it leaves behind.
- ``evaluation``, ``metrics``: windows, scores per video, tables and pictures.
- ``predict``: from video files to labels. ``tao``: NVIDIA TAO's experiment files, read as ours.

One layout everywhere: (batch, channel, time, height, width), float32; rgb channels are R, G, B, flow channels u, v.
Importing this package imports neither torch nor Lightning.
"""
