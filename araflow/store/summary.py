"""A manifest in a few numbers: for the last line, the Prefect artifact and ``araflow manifest show``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from araflow.core.clip import Outcome
from araflow.core.splits import SPLITS
from araflow.store import audit
from araflow.store.manifest import Manifest


def by_class(manifest: Manifest) -> list[dict[str, Any]]:
    """Return one row per class, then the sum over all clips.

    Each holds the class, its listed clips, their number by outcome, the finished ones by split, the finished test clips
    whose source title is also in training (``leaked``), and the frames.
    """
    rows = manifest.rows()
    leaks = {entry.label: entry.same_class for entry in audit.leakage(manifest)}
    table = []
    by_label: dict[str | None, list[dict[str, Any]]] = {label: [] for label in manifest.metadata["labels"]}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    others = by_label.pop(None, [])
    classes: list[tuple[str, list[dict[str, Any]]]] = [(str(label), own) for label, own in by_label.items()]
    if classes and others:
        classes.append(("(no class)", others))
    for label, own in [*classes, ("all", rows)]:
        done = [row for row in own if row["outcome"] == Outcome.DONE]
        outcomes, parts = Counter(row["outcome"] for row in own), Counter(row["split"] for row in done)
        table.append(
            {"class": label, "listed": len(own)}
            | {outcome.value: outcomes[outcome] for outcome in Outcome}
            | {name: parts[name] for name in SPLITS}
            | {"leaked": leaks.get(label, 0), "frames": sum(row["frames"] for row in done)}
        )
    return table


def reasons(manifest: Manifest) -> Counter[str]:
    """Count the clips that are not done by reason code."""
    return Counter(row["reason"].partition(":")[0] for row in manifest.rows() if row["outcome"] != Outcome.DONE)


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
    listed = f"{len(manifest)} clip{'s' if len(manifest) != 1 else ''} listed"
    return f"{listed}: {counts}{f' ({why})' if why else ''}; {work}, {seconds:.1f} s"
