"""Folders of frames among one's own videos, and the optical flow that others have put beside them."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from araflow.acquire.tree import File
from araflow.media import series

_PREVIEWS = re.compile(r"(thumb(nail)?|poster|cover|preview|screenshot)s?", re.IGNORECASE)
"""Folders beside videos that hold a picture of each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """Folders of frames.

    Attributes:
        folders: Path of each below the root (empty for the root itself) to the path that names its clip: where flow
            lies beside it (``clip/rgb``, ``clip/u``, ``clip/v``), that is the folder around both.
        flow: Path of each image of optical flow to what its name, or its folder's, begins with.
        remarks: What was guessed, in words.
    """

    folders: Mapping[str, str]
    flow: Mapping[str, str]
    remarks: tuple[str, ...]


def find(images: Iterable[File], videos: Collection[str], in_place: Collection[str]) -> Frames:
    """Find the folders that directly hold frames, and no clip below; images beside clips are none.

    Args:
        images: Every image.
        videos: Paths of every video.
        in_place: Folders that have a video's name: they are clips if nothing in them is.
    """
    by_folder: dict[str, list[File]] = defaultdict(list)
    for file in images:
        by_folder[file.folder].append(file)
    sides = _flow_folders(by_folder)
    flow: dict[str, str] = {}
    mixed: list[str] = []
    beside = {side.rpartition("/")[0] for side in sides}  # around flow
    for folder, files in list(by_folder.items()):
        around = next((place for place in (folder, *above(folder)) if place in sides), None)
        if around is not None:
            flow.update({file.place: around.rpartition("/")[2] for file in files})
            del by_folder[folder]
            continue
        found = series.sort_out(file.name for file in files)
        here = folder and f"{folder}/"
        flow.update({f"{here}{name}": series.kind_of(name) for name in found.flow})
        if not found.frames:
            del by_folder[folder]
            beside.add(folder)
        elif found.kinds:
            mixed.append(f"{folder or '.'} ({', '.join(found.kinds)})")
    holds_videos = {place.rpartition("/")[0] for place in videos}
    inhabited = holds_videos.union(*map(above, holds_videos))
    folders: dict[str, str] = {}
    deepest_first = sorted({*by_folder, *in_place}, key=lambda folder: (-len(above(folder)), folder))
    for folder in deepest_first:
        shown = _PREVIEWS.fullmatch(folder.rpartition("/")[2]) and folder.rpartition("/")[0] in holds_videos
        if folder not in inhabited and not shown:
            folders[folder] = _named(folder, beside)
            inhabited.update(above(folder))
    remarks: tuple[str, ...] = ()
    if mixed := sorted(mixed):
        remarks = (
            f"{len(mixed):,} folders hold several series of images, which are taken for one clip, one series after the "
            f"other: {mixed[0]}; give each series a folder of its own",
        )
    return Frames(folders, flow, remarks)


def above(place: str) -> list[str]:
    """Return the folders around a path below the root, with the root itself, which is empty; of the root, none."""
    parts = place.split("/")
    return ["/".join(parts[:number]) for number in range(len(parts))] if place else []


def _flow_folders(by_folder: Mapping[str, object]) -> frozenset[str]:
    """Folders of optical flow: beside one that is named after frames, beside frames, or a pair on their own."""
    inner: dict[str, set[str]] = defaultdict(set)
    for folder in by_folder:
        for place in (*above(folder)[1:], *([folder] if folder else [])):
            inner[place.rpartition("/")[0]].add(place.rpartition("/")[2])
    found: set[str] = set()
    for around, names in inner.items():
        flow = series.flow_among(names)
        others = names - flow
        paths = {f"{around}/{name}" if around else name for name in flow}
        if all(map(series.is_frames, others)) if others else around in by_folder or paths <= by_folder.keys():
            found |= paths
    return frozenset(found)


def _named(folder: str, beside: frozenset[str] | set[str]) -> str:
    around, _, _ = folder.rpartition("/")
    return around if around in beside - {""} else folder
