"""araflow: from public action-recognition videos to training data you can trust.

Three nouns explain the whole: a clip (one labelled video), a stage (clips in, records out) and a manifest (the
records). Nothing heavy is imported here, so that ``araflow --help`` answers at once.
"""

__version__ = "0.1.0"
