"""A whole build without Prefect: what ``araflow flow`` runs, and what a notebook calls.

The Prefect flow (``flows/build.py``) runs the same stages in the same order.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from araflow.acquire.types import Sources
from araflow.build import note, shards, stages
from araflow.build.pool import WorkerPool
from araflow.build.portions import Portions
from araflow.build.resolved import ResolvedBuild, readable, resolve
from araflow.build.selection import Selection
from araflow.core import telling
from araflow.core.clip import Clip, ClipRecord
from araflow.core.errors import OutputError, SourceError
from araflow.core.listing import Listing, say
from araflow.core.spec import BuildSpec
from araflow.datasets import folder
from araflow.store import audit
from araflow.store.address import open_store
from araflow.store.layout import clip_name, is_manifest
from araflow.store.manifest import Manifest
from araflow.store.store import Store

log = logging.getLogger(__name__)


def build(
    spec: BuildSpec,
    *,
    accept_licence: bool = False,
    source: Path | None = None,
    on_start: Callable[[int], None] = lambda clips: None,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
) -> Manifest:
    """Make a dataset, or finish one that was begun.

    Args:
        spec: Settings.
        accept_licence: The user accepts the dataset's licence, so that it may be downloaded.
        source: Take the clips of this video, folder, folder of frames or manifest instead of ``spec.dataset``; they
            get no split.
        on_start: Called with the number of listed clips.
        on_record: Called after each clip with its record and whether anything was made.

    Returns:
        The manifest, which is also written to ``spec.out``.

    Raises:
        AraflowError: See ``araflow.core.errors``; a bad clip is a row, not an error.
    """
    resolved = resolve(spec, accept_licence=accept_licence, source=source)
    return carry_out(resolved, on_start=on_start, on_record=on_record)


def carry_out(
    build: ResolvedBuild,
    *,
    on_start: Callable[[int], None] = lambda clips: None,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
    on_manifest: Callable[[Manifest], object] = lambda manifest: None,
    plain: bool = True,
) -> Manifest:
    """Make a dataset that has been resolved.

    Args:
        build: What, from what, and how.
        on_start: Called with the number of listed clips.
        on_record: Called after each clip with its record and whether anything was made.
        on_manifest: Called with the manifest when it is written, while the output is still held.
        plain: What is tried again later is made without Prefect, too (``BuildNote.plain``).

    Returns:
        The manifest.

    Raises:
        AraflowError: See ``araflow.core.errors``; a bad clip is a row, not an error.
    """
    build.say_flow()
    output, run = open_store(build.spec.out), build.spec.run
    # A source is looked at before the output is made: a wrong one leaves nothing behind.
    build = stages.look(build)
    with readable(build.source):
        selection = None if build.source is None else select_source(build.source, output)
    with output.locked() as store, WorkerPool(run.workers) as pool:
        files = stages.prepare(build, store)
        if selection is None:
            selection = stages.select(build, files)
        stages.check_output(store, selection)
        note.write(store, build.spec, build.fingerprint, selection, build.source, plain=plain)
        on_start(len(selection.clips))
        portions = Portions(build, files, selection, store)
        for portion in portions:
            for shard in shards.shards(portion.open(), run.shard_size):
                shards.extract_shard(shard, build.recipe, store, pool, run, on_record)
            portion.close()
        manifest = stages.write_manifest(build, portions.labelled(), store, files=files)
        on_manifest(manifest)
        log.info("%s", audit.check(manifest), extra=telling.DETAIL)
    return manifest


def select_source(source: Path, store: Store) -> Selection:
    """List the clips of a video, a folder of videos, a folder of frames, or a manifest.

    Raises:
        SourceError: There is no such source, or no clip in it.
        ManifestError: The manifest cannot be read, or leads out of its folder.
        OutputError: The output folder is the manifest's own.
    """
    if str(source).startswith(("http:/", "https:/")):
        raise SourceError(f"{source}: addresses are not fetched here; download the video first")
    if is_manifest(source):
        manifest = Manifest.read(source)
        log.info("source: the rgb frames of a manifest of %d clips", len(manifest))
        split_of = {key: split for key, split in manifest.columns("key", "split") if split is not None}
        return stages.selection(Listing(tuple(_clips_of(manifest, store))), str(source), manifest.labels, split_of)
    selection = stages.selection(folder.list_clips(Sources(source, None), None), str(source))
    say(selection.passed_over, selection.remarks)
    return selection


def _clips_of(manifest: Manifest, store: Store) -> list[Clip]:
    """The clips of a manifest, to be read from their rgb frames; those that were not made have none."""
    if manifest.folder.resolve() == store.out.resolve():
        raise OutputError(
            f"{store.out}: is the manifest's own folder; choose another out, or change its settings with araflow build"
        )
    clips = zip(manifest.clips(), manifest.columns("path", "frames", "status"), strict=True)
    return [
        dataclasses.replace(
            clip,
            name=f"{clip_name(clip.key)}/rgb",
            source=manifest.frames_of(path) if path is not None and frames else None,
            replaced=status == "replaced",
        )
        for clip, (path, frames, status) in clips
    ]
