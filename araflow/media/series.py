"""Which of the images in a folder are a clip's frames, and which are its optical flow: told by their names.

Tools that extract frames and flow put both into one folder (denseflow, MMAction2, TSN: ``img_00001.jpg``,
``flow_x_00001.jpg``, ``flow_y_00001.jpg``, or ``x_…``, ``y_…``), or into folders side by side (NVIDIA TAO: ``rgb``,
``u``, ``v``).
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Iterable

_FLOW = re.compile(r"(^|_)(opt(ical)?_?flow|warp(ed)?_?flow|flow|flo|tvl|farneback|of)(_?(x|y|u|v|h|i|img|image)s?)?$")
_NO_FLOW = frozenset({"of"})
_PAIRS = (frozenset({"x", "y"}), frozenset({"u", "v"}))
_FRAMES = re.compile(r"(^|_)(rgb|img|image|frame|rawframe|color|colour|jpg|jpeg|png|picture)s?($|_)")


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """The images of a folder.

    Attributes:
        frames: Names of frames.
        flow: Names of images of optical flow.
        kinds: What the names of frames begin with, where they are of several numbered series.
    """

    frames: tuple[str, ...]
    flow: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


def sort_out(names: Iterable[str]) -> Series:
    """Tell a clip's frames from its optical flow.

    Images named ``x…`` and ``y…``, or ``u…`` and ``v…``, are flow where both are there, and so are those named after
    it where there are others, or where they come in pairs.

    Args:
        names: File names of images that lie in one folder.
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_kind[kind_of(name)].append(name)
    flow = flow_among(by_kind)
    frames = [name for kind, own in by_kind.items() if kind not in flow for name in own]
    return Series(
        tuple(frames), tuple(name for kind in sorted(flow) for name in by_kind[kind]), _several(by_kind, flow)
    )


def flow_among(names: Collection[str]) -> frozenset[str]:
    """Return those names of folders, or beginnings of names of files, that stand for optical flow beside the others."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_kind[_kind(name)].append(name)
    pairs = [pair for pair in _PAIRS if pair <= by_kind.keys()]
    found = {kind for kind in by_kind if is_flow(kind)}.union(*pairs)
    if found == by_kind.keys() and not pairs and len({kind[-1:] for kind in found} & {"x", "y", "u", "v"}) < 2:
        return frozenset()  # a river may be filmed, too
    return frozenset(name for kind in found for name in by_kind[kind])


def is_flow(name: str) -> bool:
    """Whether a name says by itself that it stands for optical flow."""
    kind = _kind(name)
    return kind not in _NO_FLOW and _FLOW.search(kind) is not None


def may_be_flow(name: str) -> bool:
    """Whether a folder in that of a clip stands for optical flow: by its name, or as half of a pair such as u and v."""
    return is_flow(name) or any(_kind(name) in pair for pair in _PAIRS)


def is_frames(name: str) -> bool:
    """Whether a folder is named after the frames that it holds, such as ``rgb`` or ``frames``."""
    return _FRAMES.search(_kind(name)) is not None


def kind_of(name: str) -> str:
    """Return what the images of a series are all called, apart from their numbers."""
    return _kind(name.rpartition(".")[0])


def _kind(stem: str) -> str:
    """What is left of a name without its numbers: ``flow_x_00001`` and ``flow_x_00002`` are of one kind."""
    return re.sub(r"[\W_]+", "_", re.sub(r"[0-9]+", "", stem).lower()).strip("_")


def _several(by_kind: dict[str, list[str]], flow: frozenset[str]) -> tuple[str, ...]:
    """Kinds of frames whose numbers overlap: they are no one sequence that goes on under another name."""
    numbers: dict[str, set[int]] = {}
    for kind in by_kind.keys() - flow:
        own = [re.findall(r"[0-9]+", name.rpartition(".")[0]) for name in by_kind[kind]]
        if len(own) > 1 and all(own):
            numbers[kind] = {int(found[-1]) for found in own}
    shared = {
        one for one in numbers for other in numbers if one != other and not numbers[one].isdisjoint(numbers[other])
    }
    return tuple(sorted(shared))
