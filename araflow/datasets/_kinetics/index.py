"""Which listed clip a file of a part is, and where it belongs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from araflow.acquire.tree import is_hidden
from araflow.core.clip import Clip
from araflow.datasets._kinetics import lists
from araflow.datasets._shelves import clip_at, stem_of, why_not

REPLACED = "replaced"
"""Folder below ``videos`` for replacements of broken ones."""
Name = tuple[bool, str]
"""Whether it is a replacement, and the clip's name without suffix."""


def reader(labels: Sequence[str], listed: Iterable[str] | None = None) -> Callable[[str, Sequence[str]], Name | None]:
    """Return what reads a clip's name: with its times however padded, or the id of its video alone.

    Args:
        labels: Every label. Without lists an id alone counts below a folder that is named after one.
        listed: Names of the lists' clips, without suffix. With them an id alone counts if they have one clip of it.
    """
    only: dict[str, str] | None = None
    if listed is not None:
        stems = list(listed)
        counts = Counter(stem[:11] for stem in stems)
        only = {stem[:11]: stem for stem in stems if counts[stem[:11]] == 1}

    def read(stem: str, folders: Sequence[str]) -> Name | None:
        clip = lists.clip_stem(stem)
        if clip is None and lists.is_id(stem):
            if only is not None:
                clip = only.get(stem)
            elif any(lists.find_label(folder, labels) is not None for folder in folders):
                clip = stem
        return None if clip is None else (any(folder.startswith("replace") for folder in folders), clip)

    return read


class Index:
    """Finds the listed clip that a file is.

    Args:
        clips: Every listed clip; its file name is the last part of ``Clip.name``.
    """

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._by_name = {clip.name.rpartition("/")[2]: clip for clip in clips}
        self._by_id: dict[str, list[str]] = defaultdict(list)
        for name in self._by_name:
            self._by_id[name[:11]].append(name)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self._by_name.values())

    def get(self, name: str, *, by_id: bool = False) -> Clip | None:
        """Return the clip with this file name; ``by_id`` also one whose video it is, if that has no second clip."""
        if (clip := self._by_name.get(name)) is not None or not by_id:
            return clip
        own = self._by_id.get(name[:11], [])
        return self._by_name[own[0]] if len(own) == 1 else None


class PartPlaces:
    """Puts the wanted clips of a part into ``videos/``, and notes every clip that is in it.

    Args:
        index: The listed clips.
        wanted: Whether a listed clip is wanted.
        replaces: The archive holds replacements of broken videos; ``None``: a folder or archive that is named so does.
            They are known by the id of their video, and have a place of their own.
    """

    wanted: frozenset[str] | None = None

    def __init__(
        self,
        index: Index,
        wanted: Callable[[Clip], bool],
        *,
        replaces: bool | None = False,
    ) -> None:
        self._index, self._wanted, self._replaces = index, wanted, replaces
        given = replaces is None  # what a user has may be named by an id alone
        self._read = reader((), (clip.key.rpartition("/")[2] for clip in index) if given else None)
        self.names: dict[str, None] = {}  # in order

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where a file belongs; see ``araflow.acquire.types.Places``."""
        at = None if is_hidden(found.name) else clip_at(found, self._read)
        if at is None:
            return None
        (apart, stem), lies = at
        apart = apart if self._replaces is None else self._replaces
        name = f"{stem}.mp4"
        self.names[name] = None
        clip = self._index.get(name, by_id=apart)
        if clip is None or not self._wanted(clip):
            return None
        place = PurePosixPath("videos", REPLACED if apart else "", clip.name)
        return place.with_suffix(found.suffix.lower()) if lies == found else place.with_suffix("") / found.name

    def why_not(self, found: PurePosixPath) -> str:
        """Say why a file has no place, by a code of ``core.listing``."""
        clip = None if is_hidden(found.name) else clip_at(found, self._read)
        return why_not(found, self._read) if clip is None else "not-listed"

    def enter(self, found: PurePosixPath) -> bool:
        """Every archive may hold clips."""
        return True


def clip_of(place: PurePosixPath) -> str:
    """Return the file name, as ``Clip.name`` has it, of the clip that was put there."""
    return f"{stem_of(place.parts[3 if place.parts[1] == REPLACED else 2])}.mp4"


class Lying:
    """Where the videos of clips lie; each class's folder is read at most once.

    Args:
        videos: Folder of videos.
    """

    def __init__(self, videos: Path) -> None:
        self._videos = videos
        self._others: dict[Path, dict[str, str]] = {}

    def video(self, clip: Clip) -> Path:
        """Return where a clip's video lies, or would; a replacement comes first."""
        usual = self._videos / clip.name
        return self.replacement(clip) or self._find(usual) or usual

    def replacement(self, clip: Clip) -> Path | None:
        """Return where the replacement of a clip lies."""
        return self._find(self._videos / REPLACED / clip.name)

    def _find(self, path: Path) -> Path | None:
        """Return what lies in a video's place: itself, one of another suffix, or a folder of frames."""
        if path.is_file():
            return path
        if path.parent not in self._others:
            names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            self._others[path.parent] = {stem_of(name): name for name in names if not name.endswith(".mp4")}
        other = self._others[path.parent].get(path.stem)
        return None if other is None else path.with_name(other)
