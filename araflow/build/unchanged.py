"""Whether a build has nothing to do, as far as that is seen without reading a video: no server is started for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from araflow.build import note as build_note
from araflow.build import outputs
from araflow.build.note import BuildNote
from araflow.build.resolved import ResolvedBuild
from araflow.build.status import status
from araflow.core.addresses import local
from araflow.core.errors import OutputError, SpecError
from araflow.store.address import is_remote, open_store
from araflow.store.store import Store


def since_last_run(build: ResolvedBuild) -> bool:
    """Whether every clip is settled under these very settings, and nothing in its sources is newer than their list.

    A source is looked at by its times; the build itself still reads its bytes. In doubt the answer is no.

    Args:
        build: With its clips, where they lie ready (``stages.look``).
    """
    spec = build.spec
    if spec.run.verify or is_remote(spec.out) or not Path(local(spec.out)).is_dir():
        return False
    store = open_store(spec.out)
    try:
        seen = outputs.read(store)
    except OutputError:
        return False  # the build says it
    if seen.note is None or seen.note.source is not None or seen.unreadable or seen.running:
        return False
    now = status(seen, time.time())
    if not now.complete or now.failed or seen.note.fingerprint != build.fingerprint:
        return False
    return _same_settings(build, seen.note) and not _is_newer(build, store, seen.note)


def _same_settings(build: ResolvedBuild, note: BuildNote) -> bool:
    try:
        before = build_note.settings(note, build.spec.out)
    except SpecError:
        return False  # another version's
    now = build_note.from_the_root(build.spec.model_dump(mode="json"))
    return before.output_settings() == build.spec.output_settings() and note.spec["dataset"] == now["dataset"]


def _is_newer(build: ResolvedBuild, store: Store, note: BuildNote) -> bool:
    """Whether a file or folder that clips come from was written, renamed or replaced since the clips were listed."""
    listed = outputs.begun(note)
    given = (build.spec.dataset.source, build.spec.dataset.splits, build.spec.dataset.folder)
    paths = [Path(name).expanduser() for name in given if name is not None]
    paths += [Path(store.state) / name for name in note.sources or ()]
    if build.found is not None:
        paths += [clip.source for clip in build.found.selection.clips if clip.source is not None]
    try:
        return any(max(found.st_mtime, found.st_ctime) > listed for path in paths for found in _below(path))
    except OSError:
        return True


def _below(path: Path) -> Iterator[os.stat_result]:
    yield path.stat()
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                yield Path(folder, name).stat()
