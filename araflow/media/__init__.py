"""Video in; PNG, JPEG and flow files in and out.

Others use: ``video`` (decoding, and what a file says of itself), ``png`` and ``png_reader``, ``frame_form`` and
``frame_files`` (frames scaled, as PNG or JPEG), ``steady`` (at an even rate), ``quantize`` (flow to 8 bits and back),
``flow_files`` (``.flo``, 16-bit PNG), ``colours`` (flow as a picture), ``fields`` (what a frame and a field are), and
what else ``__all__`` lists.

May import ``core``.
"""

__all__ = [
    "colours",
    "containers",
    "fields",
    "flow_files",
    "flow_forms",
    "frame_files",
    "frame_form",
    "images",
    "live",
    "mp4",
    "numbering",
    "png",
    "png_reader",
    "quantize",
    "series",
    "signs",
    "source_files",
    "steady",
    "video",
]
