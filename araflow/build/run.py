"""A whole build without Prefect: what ``araflow flow`` runs, and what a notebook calls.

The Prefect flow (``flows/build.py``) runs the same stages in the same order.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from araflow import optical
from araflow.acquire.fetch import Progress, no_progress
from araflow.acquire.types import Sources
from araflow.build import note, shards, stages
from araflow.build.extract import Recipe
from araflow.build.pool import WorkerPool
from araflow.build.portions import Portions
from araflow.build.stages import Selection
from araflow.core.clip import Clip, ClipRecord
from araflow.core.errors import OutputError, SourceError, SpecError
from araflow.core.spec import BuildSpec
from araflow.datasets import check_classes, folder, load
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store import audit
from araflow.store.address import open_store
from araflow.store.layout import MANIFEST
from araflow.store.manifest import Manifest
from araflow.store.store import Store

log = logging.getLogger(__name__)


def settle(spec: BuildSpec, *, accept_licence: bool = False, use_dataset: bool = True) -> tuple[Recipe, str]:
    """Check what can be checked before any work starts, and settle the backend and the recipe.

    Args:
        spec: Settings.
        accept_licence: The user accepts the dataset's licence, so that it may be downloaded.
        use_dataset: The clips are those of ``spec.dataset``.

    Returns:
        The recipe, and a sentence that says which backend runs and why.

    Raises:
        SpecError: Unknown class, backend, algorithm or preset; a licence that is not accepted; a split that cannot be.
        SourceError: A local source is not there.
        UnavailableError: The backend is absent.
    """
    if use_dataset:
        dataset = load(spec.dataset.name)
        check_classes(dataset, spec.dataset.name, spec.dataset.classes)
        dataset.check(spec.dataset, accept_licence=accept_licence)
        if spec.split.protocol == "official" and not dataset.knows_splits(spec.dataset):
            raise SpecError("split.protocol: official needs dataset.splits; set it, or use random or group")
    choice = optical.choose(spec.optical.backend, spec.optical.algorithm)
    return Recipe.of(spec, choice), choice.why


def build(
    spec: BuildSpec,
    *,
    accept_licence: bool = False,
    source: Path | None = None,
    on_start: Callable[[int], None] = lambda clips: None,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
    progress: Progress = no_progress,
) -> Manifest:
    """Make a dataset, or finish one that was begun.

    Args:
        spec: Settings.
        accept_licence: The user accepts the dataset's licence, so that it may be downloaded.
        source: Take the clips of this video, folder, folder of frames or manifest instead of ``spec.dataset``; they
            get no split.
        on_start: Called with the number of listed clips.
        on_record: Called after each clip with its record and whether anything was made.
        progress: Called while bytes of a download arrive.

    Returns:
        The manifest, which is also written to ``spec.out``.

    Raises:
        AraflowError: See ``araflow.core.errors``; a bad clip is a row, not an error.
    """
    recipe, why = settle(spec, accept_licence=accept_licence, use_dataset=source is None)
    log.info("optical flow: %s", why)
    output = open_store(spec.out)
    selection = None
    if source is not None:
        spec = spec.model_copy(update={"name": "flow"})
        selection = select_source(source, output)
    with output.locked() as store, WorkerPool(spec.run.workers) as pool:
        files = Sources(source, None)
        if selection is None:
            files = stages.prepare(spec, store, progress)
            selection = stages.select(spec, files)
        stages.check_output(store, selection)
        note.write(store, spec, recipe.fingerprint, selection, source, accept_licence=accept_licence, plain=True)
        on_start(len(selection.clips))
        portions = Portions(spec, files, selection, recipe, store, progress)
        for portion in portions:
            for shard in shards.shards(portion.open(), spec.run.shard_size):
                shards.extract_shard(shard, recipe, store, pool, spec.run, on_record)
            portion.close()
        manifest = stages.write_manifest(
            spec, portions.labelled(), recipe, store, files=files, configured=source is None
        )
        write_contact_sheet(manifest)
        audit.check(manifest)
    return manifest


def select_source(source: Path, store: Store) -> Selection:
    """List the clips of a video, a folder of videos, a folder of frames, or a manifest.

    Raises:
        SourceError: There is no such source, or no clip in it.
        ManifestError: The manifest cannot be read.
        OutputError: The output folder is the manifest's own.
    """
    if str(source).startswith(("http:/", "https:/")):
        raise SourceError(f"{source}: addresses are not fetched here; download the video first")
    if source.suffix == ".parquet" or (source / MANIFEST).is_file():
        manifest = Manifest.read(source)
        log.info("source: the rgb frames of a manifest of %d clips", len(manifest))
        split_of = {key: split for key, split in manifest.columns("key", "split") if split is not None}
        return stages.selection(_clips_of(manifest, store), str(source), manifest.labels, split_of)
    return stages.selection(folder.list_clips(Sources(source, None), None), str(source))


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
            name=f"clips/{clip.key}/rgb",
            source=manifest.folder / path / "rgb" if path is not None and frames else None,
            replaced=status == "replaced",
        )
        for clip, (path, frames, status) in clips
    ]
