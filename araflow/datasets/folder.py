"""Any videos of one's own: a video file, a folder of videos (``class/clip.ext``), a folder of frames, or a CSV list.

A list has a header and the columns ``path`` and ``label``, and may have ``split`` (``train``, ``val``, ``test``) and
``group``; paths are absolute or relative to the list's folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from araflow.acquire import terms, tree
from araflow.acquire.archives import ARCHIVE_SUFFIXES
from araflow.acquire.sources import make_local
from araflow.acquire.tree import Kind
from araflow.acquire.types import Progress, Sources, no_progress
from araflow.acquire.walk import is_archive_name
from araflow.core.errors import SourceError, SpecError
from araflow.core.listing import Leftovers, Listing
from araflow.core.spec import DatasetSpec
from araflow.datasets import Dataset, _folder_csv, _folder_labels, _folder_tree


class Folder(Dataset):
    """Whatever the user has; there is nothing to fetch."""

    def classes(self) -> None:
        """Return ``None``: the folders, or the list, decide."""
        return

    def knows_splits(self, spec: DatasetSpec) -> bool:
        """A list may have a column of splits, and folders may be named after them; of archives nobody knows before."""
        source = spec.source or ""
        if (folder := Path(source).expanduser()).is_dir():
            return any(clip.subset is not None for clip in _folder_tree.list_clips(folder, spec.classes).clips)
        return source.lower().endswith(tuple(_folder_csv.SUFFIXES)) or is_archive_name(source)

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Insist on a source and refuse split files; see ``Dataset``."""
        if spec.source is None:
            raise SpecError(
                "dataset.source: a folder dataset needs one: class/clip.ext, a video, or a CSV of path and label"
            )
        if spec.splits is not None:
            raise SpecError("dataset.splits: a folder dataset has no official split files; leave it null")
        terms.check(spec, accept_licence)

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> Sources:
        """Make the videos local; see ``Dataset``. A CSV list stands as ``videos``; there are no splits."""
        assert spec.source is not None, "check comes first"
        single = Path(spec.source).expanduser()
        if single.is_file() and (_is_list(single) or tree.kind_at(single) is Kind.VIDEO):
            return Sources(single, None)
        wanted = None if spec.classes is None else frozenset(spec.classes)
        places = _AsTheyLie(wanted, archive=not single.is_dir())
        beside = Leftovers()
        root = make_local(spec.source, work, places, "videos", report, progress, over=beside)
        while places.archive and (inner := _only_shelf(root, wanted, beside)) is not None:
            root = inner
        return Sources(root, None, passed_over=beside.entries())

    def list_clips(self, files: Sources, wanted: Sequence[str] | None, /) -> Listing:
        """List the clips of a list, or below a folder; see ``list_clips`` below."""
        return list_clips(files, wanted)


dataset = Folder()


def _only_shelf(folder: Path, wanted: frozenset[str] | None, beside: Leftovers) -> Path | None:
    """The only folder in a folder, if it is none of a class, but holds them: archives often wrap class folders so.

    Args:
        folder: The folder.
        wanted: Classes that are asked for.
        beside: Gets what lies beside it.
    """
    shelves = [path for path in folder.iterdir() if path.is_dir()]
    others = [path for path in folder.iterdir() if not path.is_dir()]
    if len(shelves) != 1 or any(tree.kind_at(path) in (Kind.VIDEO, Kind.IMAGE) for path in others):
        return None
    name, inside = shelves[0].name, _folder_tree.list_clips(shelves[0], wanted).clips
    named = name in (wanted or ()) or _folder_labels.subset_of(name) is not None
    if named or not inside or any(clip.label is None for clip in inside):
        return None
    for path in others:
        beside.add("suffix", path.suffix.lower() or "without suffix", path.name)
    return shelves[0]


@dataclasses.dataclass(frozen=True, slots=True)
class _AsTheyLie:
    """Files stay where they are in their archive, whatever they are: the folder that comes of it says which are clips.

    See ``araflow.acquire.types.Places``.

    Attributes:
        wanted: Classes; ``None`` for all.
        archive: The source is an archive, whose own name says nothing.
    """

    wanted: frozenset[str] | None
    archive: bool

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        *folders, name = found.parts[1:] if self.archive else found.parts
        if tree.kind_of(name) is Kind.ARCHIVE or tree.is_hidden(name):
            return None
        # An archive within is named after its class if its videos lie directly in it.
        inner = [folder for folder in folders if folder.lower().endswith(ARCHIVE_SUFFIXES)]
        kept = [folder for folder in folders if folder not in inner or folder == folders[-1]]
        kept = [folder.partition(".")[0] if folder in inner else folder for folder in kept]
        # An archive often holds one folder that holds the class folders.
        unwanted = self.wanted is not None and self.wanted.isdisjoint(kept)
        return None if unwanted or any(map(tree.is_hidden, kept)) else PurePosixPath("videos", *kept, name)

    def enter(self, found: PurePosixPath) -> bool:
        return True


def list_clips(files: Sources, wanted: Sequence[str] | None) -> Listing:
    """List the clips of a CSV list, or every video file, and every folder that directly holds images, below a folder.

    Images beside clips are no clip (they are previews, or covers), and what araflow wrote itself is passed over. A
    clip's label is the name of the topmost folder it lies in; clips at the top have none. Its key is its path without
    suffix (with it, where another clip would have the same key or lie within it). Hidden files are passed over.

    Raises:
        SourceError: The source is absent, a list or a folder cannot be read, or a wanted class has no clips.
    """
    root = files.videos
    if root is None or not root.exists():
        raise SourceError(f"{root}: no such file or folder")
    if not (root.is_file() or root.is_dir()):
        raise SourceError(f"{root}: neither a file nor a folder")
    if root.is_file() and not _is_list(root):
        return Listing((_folder_tree.single(root),))
    listing = _folder_csv.read(root) if root.is_file() else _folder_tree.list_clips(root, wanted)
    labels = {clip.label for clip in listing.clips if clip.label is not None}
    if absent := [label for label in wanted or () if label not in labels]:
        raise SourceError(
            f"dataset.classes: {root} holds no clips of class {absent[0]!r}; its classes: {', '.join(sorted(labels))}"
        )
    over = Leftovers()
    over.extend((*files.passed_over, *listing.passed_over))
    clips = []
    for clip in sorted(listing.clips, key=lambda clip: clip.key):
        if wanted is None or clip.label in wanted:
            clips.append(clip)
        else:
            over.add("unwanted-class", clip.label or "", clip.name)
    return dataclasses.replace(listing, clips=tuple(clips), passed_over=over.entries())


def _is_list(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _folder_csv.SUFFIXES
