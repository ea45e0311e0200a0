"""A manifest in a few numbers: for the last line, the Prefect artifact and ``araflow manifest show``."""

from __future__ import annotations

from collections import Counter

from araflow.core.clip import Outcome
from araflow.core.splits import SPLITS
from araflow.core.tally import Tally
from araflow.core.words import counted
from araflow.media.frame_form import AS_DECODED, FrameForm
from araflow.store import audit
from araflow.store.manifest import Manifest

COLUMNS = (
    *("key", "label", "label_index", "group", "source_sha256", "outcome", "reason", "split", "frames", "damaged"),
    *("rgb_fps", "short_side", "rgb_format", "rgb_quality", "also"),
)
"""Of a manifest, those that are counted."""
_COUNTED = ("listed", *(outcome.value for outcome in Outcome), *SPLITS, "frames")


def by_class(manifest: Manifest) -> Tally:
    """Count clips by class: listed ones, by outcome, and of the finished ones by split.

    Further columns are the frames, the finished test clips whose source title, or whose very bytes, are also in
    training of their class (``leaked``; ``None`` where no group tells), and those of which nobody knows that
    (``source unknown``).
    """
    counts: Counter[tuple[str | None, str]] = Counter()
    names = ["label", "outcome", "split"]
    groups = manifest.table.group_by(names).aggregate([([], "count_all"), ("frames", "sum")])
    for label, outcome, split, count, frames in zip(
        *(groups.column(name).to_pylist() for name in (*names, "count_all", "frames_sum")), strict=True
    ):
        counts[label, "listed"] += count
        counts[label, outcome] += count
        if outcome == Outcome.DONE:
            counts[label, split] += count
            counts[label, "frames"] += frames or 0  # of folders that no build made, not every one has frames
    found = Tally.of(counts, _COUNTED, manifest.labels).beside(audit.leakage(manifest))
    return found if len(found.classes) > 1 or manifest.labels else Tally([], found.total)


def reasons(manifest: Manifest) -> Counter[str]:
    """Count the clips that are not done by reason code."""
    unmade = (reason for outcome, reason in manifest.columns("outcome", "reason") if outcome != Outcome.DONE)
    return Counter((reason or "").partition(":")[0] for reason in unmade)


def damaged(manifest: Manifest) -> int:
    """Count the clips that decoded with errors, or are shorter than their headers say."""
    return sum(bool(one) for (one,) in manifest.columns("damaged"))


def kept(manifest: Manifest) -> list[str]:
    """Say in what form frames and flow are kept, where that is not the usual one; a line for each form."""
    names = ["short_side", "rgb_format", "rgb_quality", "rgb_fps", "also"]
    rows = manifest.select(outcome=Outcome.DONE).table.group_by(names).aggregate([]).select(names).to_pylist()
    lines = []
    for side, kind, quality, fps, also in (row.values() for row in rows):
        form = FrameForm(side, "jpeg" if kind == "jpeg" else "png", quality, fps)
        more = f"; flow also as {also.replace(',', ', ')}" if also else ""
        if form != AS_DECODED or more:
            lines.append(f"frames: {form}{more}")
    return sorted(lines)


def last_line(manifest: Manifest, made: int, seconds: float) -> str:
    """Say in one line what became of a run.

    Args:
        manifest: What was written.
        made: Clips that were worked on in this run.
        seconds: Wall time.
    """
    counts = ", ".join(f"{number} {name}" for name, number in sorted(manifest.outcomes().items()))
    why = ", ".join(f"{number} {code}" for code, number in sorted(reasons(manifest).items()))
    work = f"{made} worked on" if made else "nothing to do"
    return f"{counted(len(manifest), 'clip')} listed: {counts}{f' ({why})' if why else ''}; {work}, {seconds:.1f} s"
