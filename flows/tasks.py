"""The stages as Prefect tasks. Each body is one call of the library; nothing here knows how a stage works.

What is done is known from the output folder, so tasks are not cached: a cached result says that a task ran once, not
that its files are there.
"""

from __future__ import annotations

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from araflow.acquire.types import Sources
from araflow.build import note as build_note
from araflow.build import stages
from araflow.build.portions import Portion
from araflow.build.resolved import ResolvedBuild
from araflow.build.selection import Selection
from araflow.core import telling
from araflow.core.words import counted
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store import audit as auditing
from araflow.store.manifest import Manifest
from araflow.store.store import Store
from flows import show
from flows.executors import limits
from flows.states import StageResult, without_traceback

log = logging.getLogger("araflow.flows")


@task(name="fetch", cache_policy=NO_CACHE)
@without_traceback
def fetch(build: ResolvedBuild, store: Store) -> Sources:
    """Make the dataset's files local."""
    with limits.slot("download"):
        return stages.prepare(build, store)


@task(name="fetch-part", task_run_name="fetch-{name}", cache_policy=NO_CACHE)
@without_traceback
def fetch_part(name: str, portion: Portion) -> int:
    """Fetch and unpack one archive of a dataset in parts; return how many wanted clips are in it."""
    with limits.slot("download"):
        clips = portion.open()
    log.info("%s: %s", name, counted(len(clips), "clip"))
    return len(clips)


@task(name="select", cache_policy=NO_CACHE)
@without_traceback
def select(build: ResolvedBuild, files: Sources, store: Store) -> Selection:
    """List the clips and give each its split; leave a note of them in the output."""
    selection = stages.select(build, files)
    stages.check_output(store, selection)
    build_note.write(store, build.spec, build.fingerprint, selection)
    classes = counted(len(selection.labels), "class", "classes")
    log.info("%s of %s listed", counted(len(selection.clips), "clip"), classes)
    return selection


@task(name="manifest", cache_policy=NO_CACHE)
@without_traceback
def manifest(build: ResolvedBuild, selection: Selection, files: Sources, store: Store) -> Manifest:
    """Write the manifest, and draw the contact sheet."""
    written = stages.write_manifest(build, selection, store, files=files)
    if write_contact_sheet(written) is not None:
        show.contact_sheet(written.folder)
    show.manifest(written, build.spec)
    return written


@task(name="audit", cache_policy=NO_CACHE)
@without_traceback
def audit(written: Manifest) -> StageResult:
    """Hold the files against the manifest and test clips against training clips, and publish the counts."""
    log.info("%s", auditing.check(written), extra=telling.DETAIL)
    show.outcomes(written)
    return StageResult("audit", dict(written.outcomes()))
