"""Make a dataset's files local: a folder is taken as it is, an archive is unpacked, an address is downloaded first."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from araflow import archive, fetch, registry
from araflow.datasets import Sources
from araflow.errors import SourceError, SpecError
from araflow.spec import DatasetSpec


def is_address(text: str) -> bool:
    """Whether a source is an http(s) address, and not a path."""
    return text.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """Return where downloads are kept: ``ARAFLOW_CACHE``, or ``araflow`` in the user's cache folder."""
    if "ARAFLOW_CACHE" in os.environ:
        return Path(os.environ["ARAFLOW_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "araflow"


def check(spec: DatasetSpec, accept_licence: bool) -> None:
    """Refuse a source that is not there, and a download whose licence is not accepted.

    Raises:
        SpecError: ``source`` is null and the licence is not accepted; shows address, size, licence and citation.
        SourceError: A local source or split folder is not there.
    """
    for text in (spec.source, spec.splits):
        if text is not None and not is_address(text) and not Path(text).expanduser().exists():
            raise SourceError(f"{text}: no such folder or archive")
    if spec.source is None and not accept_licence:
        raise SpecError(
            f"dataset.source is null, so {spec.name} would be downloaded:\n{_announcement(registry.load(spec.name))}\n"
            "Accept with --accept-licence, or set dataset.source to a folder class/clip.avi that you have"
        )


def prepare(spec: DatasetSpec, work: Path, *, report: Callable[[str], None]) -> Sources:
    """Make videos and split files local.

    With ``source`` null both are downloaded from the registry's addresses; ``check`` comes first. With a
    ``source`` but no ``splits``, clips are listed from the folders and have no official folds.

    Raises:
        SourceError: A folder, archive or address is not what it should be.
    """
    if spec.source is not None:
        videos = local(spec.source, work, spec.classes, report)
        return Sources(videos, None if spec.splits is None else local(spec.splits, work, None, report))
    known = registry.load(spec.name)
    report(_announcement(known))
    splits = spec.splits or _registered(known.splits, spec.name, report)
    return Sources(
        local(_registered(known.videos, spec.name, report), work, spec.classes, report),
        local(splits, work, None, report),
    )


def _announcement(known: registry.Registry) -> str:
    size = f"{known.videos.size / 1e9:.1f} GB" if known.videos.size else "size unknown"
    note = f"\nnote: {known.videos.note}" if known.videos.note else ""
    return (
        f"{known.title}: {size} from {known.videos.mirrors[0]}\nlicence: {known.licence}\ncite: {known.citation}{note}"
    )


def local(text: str, work: Path, classes: Sequence[str] | None, report: Callable[[str], None]) -> Path:
    """Return the folder for a source given as a folder, an archive or an http(s) address.

    Args:
        text: The source.
        work: Where an archive is unpacked to.
        classes: Unpack only the folders of these classes; ``None`` unpacks all.
        report: Called with progress lines.

    Raises:
        SourceError: There is no such folder or file, or it cannot be unpacked or downloaded.
    """
    if is_address(text):
        text = str(fetch.download([text], cache_folder() / _short_digest(text) / _file_name(text), report=report))
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if not path.is_file():
        raise SourceError(f"{path}: no such folder or archive")
    status = path.stat()
    wanted = None if classes is None else set(classes)
    identity = _short_digest(f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {sorted(wanted or ())}")
    report(f"unpacking {path}")
    return archive.unpack(
        path, work / f"unpacked-{identity}", lambda name: wanted is None or not wanted.isdisjoint(Path(name).parts[:-1])
    )


def _registered(artefact: registry.Artefact, name: str, report: Callable[[str], None]) -> str:
    target = cache_folder() / name / _file_name(artefact.mirrors[0])
    return str(fetch.download(artefact.mirrors, target, size=artefact.size, sha256=artefact.sha256, report=report))


def _file_name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return name if name not in ("", "..") else "download"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
