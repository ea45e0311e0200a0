"""In which files optical flow can be stored beside its u and v images. ``flow_files`` makes and reads those of fields.

=========  =============  ==============================================  =====================================
form       a file of      holds                                           loses
=========  =============  ==============================================  =====================================
``flo``    each field     Middlebury's ``.flo``: float32                  nothing
``npy32``  each field     NumPy's ``.npy``: float32, (height, width, 2)   nothing
``npy16``  each field     likewise, float16: half of the bytes            1/2048 of a component, above 2^-14 px
``film``   each clip      H.264: direction as hue, speed as saturation    numbers: it is to be looked at
=========  =============  ==============================================  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping

SUFFIXES: Mapping[str, str] = {"flo": ".flo", "npy16": ".npy", "npy32": ".npy", "film": ".mp4"}
"""Every form, and how its files end."""
FILM = "flow.mp4"
"""How the one file of ``film`` is named."""


def parse(also: str | None) -> tuple[str, ...]:
    """Return the forms that a record names, such as ``flo,film``; ``None`` names none."""
    return tuple(one for one in (also or "").split(",") if one)
