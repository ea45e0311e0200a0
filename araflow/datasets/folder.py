"""Any videos of one's own: a video file, a folder of videos (``class/clip.ext``), or a folder of frames."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from araflow import sources
from araflow.clip import Clip
from araflow.datasets import Sources
from araflow.errors import SourceError, SpecError
from araflow.spec import DatasetSpec
from araflow.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def classes() -> None:
    """Return ``None``: the folders decide."""
    return


def prepare(spec: DatasetSpec, work: Path, *, accept_licence: bool, report: Callable[[str], None]) -> Sources:
    """Make the videos local; see ``araflow.datasets.Dataset``. There are no official splits."""
    if spec.source is None:
        raise SpecError("dataset.source: a folder dataset needs one: a folder of videos, or class/clip.ext")
    if spec.splits is not None:
        raise SpecError("dataset.splits: a folder dataset has no official split files; leave it null")
    return Sources(sources.local(spec.source, work, spec.classes, report), None)


def list_clips(files: Sources, wanted: Sequence[str] | None) -> list[Clip]:
    """List every video file, and every folder that directly holds images, below the source.

    A clip's label is the name of the topmost folder it lies in; clips at the top have none. Its key is its path without
    suffix (with it, where two files would share a key). Hidden files are passed over.

    Raises:
        SourceError: The source is absent.
    """
    root = files.videos
    if root is None or not root.exists():
        raise SourceError(f"{root}: no such file or folder")
    if root.is_file():
        return [_clip(root.name, root.stem, root)]
    found = list(_walk(root))
    stems = Counter(os.path.splitext(name)[0] for name, _ in found)
    clips = []
    for name, path in found:
        stem = os.path.splitext(name)[0]
        clips.append(_clip(name, stem if stems[stem] == 1 and path.is_file() else name, path))
    clips = [clip for clip in clips if wanted is None or clip.label in wanted]
    return sorted(clips, key=lambda clip: clip.key)


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield path below the root (with ``/``) and full path of each clip."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        suffixes = {name: os.path.splitext(name)[1].lower() for name in shown}
        here = Path(folder)
        for name in shown:
            if suffixes[name] in VIDEO_SUFFIXES:
                yield (here / name).relative_to(root).as_posix(), here / name
        if any(suffix in IMAGE_SUFFIXES for suffix in suffixes.values()):
            yield (here.relative_to(root).as_posix() if here != root else root.resolve().name), here


def _clip(name: str, key: str, path: Path) -> Clip:
    # Parquet holds text, file names are bytes: what is not UTF-8 is shown escaped.
    name, key = (os.fsencode(text).decode("utf-8", "backslashreplace") for text in (name, key))
    label, slash, _ = name.partition("/")
    return Clip(dataset="folder", key=key, label=label if slash else None, name=name, source=path)
