"""Under which terms a dataset is downloaded: what is shown, what is accepted, and what a manifest keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from araflow.acquire import fetch, registry
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Registry
from araflow.acquire.types import Sources
from araflow.core.addresses import masked
from araflow.core.errors import SourceError, SpecError
from araflow.core.spec import DatasetSpec


def check(spec: DatasetSpec, accept_licence: bool) -> None:
    """Refuse a source that is not there, and a download whose licence is not accepted.

    Raises:
        SpecError: ``source`` is null and the licence has not been accepted, now or for this folder before; shows
            address, size, licence and citation. Or ``mirror`` fits no address.
        SourceError: A local source or split folder is not there.
    """
    for text in (spec.source, spec.splits):
        if text is not None and not registry.is_address(text) and not Path(text).expanduser().exists():
            raise SourceError(f"{text}: no such folder or archive")
    if spec.source is not None:
        return
    known = registry.load(spec.name)
    if known.videos:
        registry.choose(known.videos, spec.mirror)
    if not accept_licence and not DatasetFolder.of(spec, known).accepted():
        raise SpecError(
            f"dataset.source is null, so {spec.name} would be downloaded:\n{announcement(known)}\n"
            f"to: {DatasetFolder.of(spec, known).path}\n"
            "Accept with --accept-licence, or set dataset.source to what you have: a folder class/clip, or an archive"
        )


def accept(folder: DatasetFolder, report: Callable[[str], None], origin: str | None = None) -> None:
    """Record that the licence is accepted (``check`` has made sure), and show it where that is news."""
    if not folder.accepted():
        report(announcement(folder.known, origin))
        folder.accept()


def announcement(known: Registry, origin: str | None = None) -> str:
    """Say what would be downloaded, from where (or ``origin``), how much, under which licence, and what to cite."""
    if origin is not None:
        text, note = f"from {origin}", None
    elif known.subsets:
        sizes = {name: fetch.amount(s.size) if s.size else "size unknown" for name, s in known.subsets.items()}
        origin = urlsplit(next(iter(known.subsets.values())).parts).hostname
        text = f"{', '.join(f'{name} {size}' for name, size in sizes.items())} from {origin}"
        note = None
    else:
        first = known.videos[0]
        text = f"{fetch.amount(first.size) if first.size else 'size unknown'} from {masked(first.mirrors[0])}"
        note = first.note
    lines = [f"{known.title}: {text}", f"licence: {known.licence}", f"cite: {known.citation}"]
    return "\n".join([*lines, f"note: {note}"] if note else lines)


def provenance(spec: DatasetSpec, files: Sources) -> dict[str, Any] | None:
    """Return what a manifest says of where its clips come from; ``None`` for a dataset without registry file.

    No dates, and no files that other builds of the dataset fetched: the same input gives the same manifest. Dates of
    download and acceptance are in ``dataset.json``.

    Raises:
        SourceError: The registry file, or the dataset's folder, cannot be read.
    """
    if spec.name not in registry.names():
        return None
    known = registry.load(spec.name)
    about: dict[str, Any] = {"title": known.title, "page": known.page, "licence": known.licence}
    about["citation"] = known.citation
    if spec.source is None:
        folder = DatasetFolder.of(spec, known)
        about["licence_accepted"] = folder.accepted()
        urls = {masked(url) for url in (*(part.url for part in files.parts), *files.downloads)}
        about["files"] = [
            {name: file[name] for name in ("name", "url", "size", "sha256")}
            for file in folder.files()
            if masked(file["url"]) in urls
        ]
    return about
