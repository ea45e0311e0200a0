"""The stages of a build, shard in and records out. They work without Prefect, which only calls them.

Resume needs nothing but the output folder: a clip is done when its proof is there, bound to the source's bytes and to
the fingerprint of the settings.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.acquire import terms
from araflow.acquire.types import Sources
from araflow.acquire.walk import holds_archives, is_archive_name
from araflow.build.resolved import Found, ResolvedBuild, readable
from araflow.build.selection import Selection
from araflow.core import splits
from araflow.core.clip import Clip, ClipRecord
from araflow.core.errors import OutputError, SourceError
from araflow.core.keys import shown, why_not
from araflow.core.listing import Listing, beside, say, told
from araflow.core.spelling import alike, natural
from araflow.store.layout import MANIFEST

if TYPE_CHECKING:  # selecting clips needs no store
    from araflow.store.manifest import Manifest
    from araflow.store.store import Store

log = logging.getLogger(__name__)
NOTHING = Sources(None, None)


def prepare(build: ResolvedBuild, store: Store) -> Sources:
    """Make the videos and split files local; the caller holds the store's lock.

    Raises:
        SourceError: The source cannot be had.
    """
    if build.dataset is None:
        return Sources(build.source, None)
    if build.found is not None:
        return build.found.files
    with readable(build.spec.dataset.source):
        return build.dataset.prepare(build.spec.dataset, store.state, report=log.info)


def look(build: ResolvedBuild) -> ResolvedBuild:
    """List the clips now, where they lie ready: what is wrong with them then ends a build before it has begun.

    What is to be fetched, unpacked or drawn first is left to the stages.

    Raises:
        SpecError: See ``select``.
        SourceError: See ``select``.
        OutputError: The output holds another dataset, which no fetching can change.
    """
    from araflow.build import others

    wanted = build.spec.dataset
    if build.found is not None:
        return build
    if build.dataset is None or not (wanted.source and _is_ready(wanted.source) and _is_ready(wanted.splits)):
        others.check_before_fetching(build)
        return build
    with readable(wanted.source):
        files = build.dataset.prepare(wanted, Path(os.devnull), report=log.info)
    return dataclasses.replace(build, found=Found(files, *_select(build, files)))


def _is_ready(source: str | None) -> bool:
    """Whether a source is taken as it lies."""
    if source is None:
        return True
    path = Path(source).expanduser()
    return not holds_archives(path) if path.is_dir() else path.is_file() and not is_archive_name(path.name)


def select(build: ResolvedBuild, files: Sources) -> Selection:
    """List the clips of the wanted classes and give each its split; say once what was guessed and passed over.

    Raises:
        SpecError: The split protocol needs what the clips do not have.
        SourceError: A list or name cannot be read, or no clip is listed.
    """
    found = build.found or Found(files, *_select(build, files))
    for warning in found.warnings:
        log.warning("%s", warning)
    say(found.selection.passed_over, found.selection.remarks)
    return found.selection


def _select(build: ResolvedBuild, files: Sources) -> tuple[Selection, tuple[str, ...]]:
    """List the clips; return them, and a warning for each class that lacks a split."""
    assert build.dataset is not None, "the clips of a source are listed by select_source"
    spec = build.spec
    with readable(files.videos):
        listed = build.dataset.list_clips(files, spec.dataset.classes)
    clips = thin_out(listed.clips, spec.dataset.clips_per_class)
    split_of = splits.assign(clips, spec.split)
    remark = splits.remark(clips, spec.split)
    wanted = {"train", "test"} | ({"val"} if spec.split.val_fraction else set())
    if splits.settled(clips, spec.split).protocol == "official" and files.subsets:
        wanted = set(files.subsets)
    parts: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        parts[clip.label or ""].add(split_of[clip.key])
    warnings = tuple(
        f"class {label} has no {' and no '.join(sorted(lacking))} clips"
        for label in build.labels or sorted(parts)
        if label in parts and (lacking := wanted - parts[label])
    )
    remarks = listed.remarks if remark is None else (*listed.remarks, remark)
    listing = dataclasses.replace(listed, clips=tuple(clips), remarks=remarks)
    return selection(listing, str(files.videos or files.splits), build.labels, split_of), warnings


def thin_out(clips: Sequence[Clip], most: int | None) -> list[Clip]:
    """Take at most so many clips of each class and subset, evenly spaced through their sorted keys.

    Those whose videos are there come first; where a class has none, listed ones are taken all the same.
    """
    if most is None:
        return list(clips)
    groups: dict[tuple[str | None, str | None], list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.key):
        groups[clip.label, clip.subset].append(clip)
    there = ([clip for clip in own if clip.source is not None] or own for own in groups.values())
    taken = (own if len(own) <= most else [own[number * len(own) // most] for number in range(most)] for own in there)
    return sorted((clip for own in taken for clip in own), key=lambda clip: clip.key)


def selection(
    listing: Listing, origin: str, labels: Sequence[str] | None = None, split_of: dict[str, str] | None = None
) -> Selection:
    """Take listed clips.

    Args:
        listing: The clips, and what lies beside them.
        origin: Where they were looked for, for the message.
        labels: Class names in label order; ``None`` takes those of the clips, in natural order: 2 before 10.
        split_of: Clip key to split.

    Raises:
        SourceError: There are none, two have one key, a key would lead out of the output, or a label is none of these.
    """
    clips = listing.clips
    if not clips:
        raise SourceError(
            f"{origin}: no clips found: no video files, no folders of images, and no list of any"
            + (f"; {over}" if (over := told(listing.passed_over)) else "")
        )
    known: set[str] = set()
    for clip in clips:
        if why := why_not(clip.key) or ("is that of another clip, too" if clip.key in known else None):
            raise SourceError(f"{origin}: the key {shown(clip.key)} of a clip {why}")
        known.add(clip.key)
    if labels is None:
        labels = sorted({clip.label for clip in clips if clip.label is not None}, key=natural)
    allowed = {None, *labels}
    if strange := next((clip for clip in clips if clip.label not in allowed), None):
        raise SourceError(
            f"{origin}: clip {shown(strange.key)} is of class {shown(strange.label)}, which is none of the classes"
        )
    if twins := alike(labels):
        one, other = twins[0]
        remark = f"classes {one!a} and {other!a} differ in nothing but case or Unicode form: two classes, or one?"
        listing = dataclasses.replace(listing, remarks=(*listing.remarks, remark))
    return Selection(clips, tuple(labels), split_of or {}, listing.passed_over, listing.remarks)


def check_output(store: Store, selection: Selection) -> None:
    """Refuse an output folder that holds something else: its manifest would be replaced by one without those clips.

    A manifest of ours that cannot be read as one is put aside: all that it says is known from the clips' records.

    Raises:
        OutputError: The manifest there, or the note of a build that wrote none, shares no clip with the selection; or
            there is a manifest that is not ours, or frames that are not; or the output takes two keys for one.
    """
    from araflow.build import alike, note, others, outputs, theirs

    state = outputs.read_state(store, ["key"])
    others.check(store, state, selection.clips)
    if state.manifest is not None:
        _warn_of_another_order(state.manifest.metadata.get("labels") or (), selection.labels)
    alike.check(store.place, [clip.key for clip in selection.clips])
    theirs.check(store, selection.clips)
    for name, why in state.unreadable.items():
        if name == note.NAME:
            log.warning("%s; it is written anew", why)
            continue
        if not outputs.is_ours(store):
            raise OutputError(f"{why}, and araflow has made nothing here: choose another out, or move it away")
        log.warning("%s; it is kept as %s, and a new one is written", why, outputs.put_aside(store, name))


def _warn_of_another_order(before: Sequence[str], now: Sequence[str]) -> None:
    """Recognisers count classes: one trained on the manifest that was here takes them by its order."""
    kept = set(before) & set(now)
    pairs = zip((label for label in before if label in kept), (label for label in now if label in kept), strict=True)
    if moved := next((new for old, new in pairs if old != new), None):
        log.warning(
            "classes are in another order than in the manifest that was here: %r was class %d and is %d now; name them "
            "in dataset.classes to keep an order",
            moved,
            before.index(moved),
            now.index(moved),
        )


def collect(clips: Sequence[Clip], fingerprint: str, store: Store) -> list[ClipRecord]:
    """Read every clip's record back from the output folder, in the clips' order.

    Raises:
        OutputError: A clip has no record: extraction has not finished.
    """
    records = []
    # The audit holds the files against the rows afterwards.
    found = store.map(lambda clip: store.find(clip.key, fingerprint, count_files=False), clips)
    for clip, record in zip(clips, found, strict=True):
        if record is None:
            raise OutputError(f"{store.out}: {clip.key!r} has no record: run the build again to finish it")
        records.append(record)
    return records


def write_manifest(build: ResolvedBuild, selection: Selection, store: Store, *, files: Sources = NOTHING) -> Manifest:
    """Join the clips with their records and write the manifest.

    Args:
        build: The manifest keeps its settings, but not those of dataset and split where the clips are a source's.
        selection: The clips.
        store: Where.
        files: What was made local, for the record of where the clips come from.

    Raises:
        OutputError: A clip has no record, or the file cannot be written.
    """
    from araflow.build.extract import software
    from araflow.store.manifest import Manifest

    spec, configured = build.spec, build.source is None
    split = splits.settled(selection.clips, spec.split)
    settings = spec.model_copy(update={"split": split}).output_settings()
    if not configured:
        del settings["dataset"], settings["split"]
    manifest = Manifest.of(
        selection.clips,
        collect(selection.clips, build.fingerprint, store),
        labels=selection.labels,
        split_of=selection.split_of,
        metadata={
            "name": spec.name,
            "spec": settings,
            "labels": list(selection.labels),
            "software": software(build.recipe.backend),
            "dataset": terms.provenance(spec.dataset, files) if configured else None,
            **beside(selection.passed_over, selection.remarks),
        },
        folder=store.out,
    )
    store.check_held()
    store.place.replace(MANIFEST, manifest.encode())
    return manifest
