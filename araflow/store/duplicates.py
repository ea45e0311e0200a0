"""Videos that lie there under several names, with the same bytes: in training and test, or as two classes."""

from __future__ import annotations

import dataclasses

import pyarrow.compute as pc

from araflow.core.clip import Outcome
from araflow.core.words import counted
from araflow.store.manifest import Manifest

_EXAMPLES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicates:
    """Finished clips whose videos have the same bytes.

    Attributes:
        videos: How many different videos there are more than once.
        clips: How many clips are made of them.
        across_splits: Of these videos, how many are in more than one split.
        across_classes: Likewise, in more than one class.
        examples: Keys of the clips of the first few; of those across splits or classes, if there are any.
    """

    videos: int
    clips: int
    across_splits: int
    across_classes: int
    examples: tuple[tuple[str, ...], ...]

    @property
    def line(self) -> str:
        """Say it on a line."""
        shown = "; ".join(" and ".join(map(repr, keys[:_EXAMPLES])) for keys in self.examples)
        return (
            f"{counted(self.videos, 'video')} {'is' if self.videos == 1 else 'are'} there more than once, byte for "
            f"byte, as {self.clips:,} clips: "
            f"{self.across_splits:,} of them in more than one split, {self.across_classes:,} in more than one class, "
            f"such as {shown}"
        )


def find(manifest: Manifest) -> Duplicates:
    """Compare the digests of the finished clips' videos.

    Args:
        manifest: With at least the columns ``key``, ``label``, ``split``, ``outcome`` and ``source_sha256``.
    """
    table = manifest.select(outcome=Outcome.DONE).table.select(["key", "label", "split", "source_sha256"])
    counts = table.group_by("source_sha256").aggregate([([], "count_all")])
    often = counts.filter(pc.greater(counts.column("count_all"), 1)).column("source_sha256").drop_null()
    clips_of: dict[str, list[tuple[str, str | None, str | None]]] = {}
    for row in table.filter(pc.is_in(table.column("source_sha256"), value_set=often.combine_chunks())).to_pylist():
        clips_of.setdefault(row["source_sha256"], []).append((row["key"], row["label"], row["split"]))
    groups = list(clips_of.values())
    classes = [own for own in groups if len({label for _, label, _ in own}) > 1]
    sides = [own for own in groups if len({split for _, _, split in own}) > 1]
    told = [own for own in groups if own in classes or own in sides] or groups
    examples = tuple(tuple(key for key, _, _ in own) for own in told[:_EXAMPLES])
    return Duplicates(len(groups), sum(map(len, groups)), len(sides), len(classes), examples)
