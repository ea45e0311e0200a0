"""Clips counted by class, with their sum apart: a folder, and so a class, may be named as any row of sums would be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from araflow.core.leakage import Leakage, LeakageReport
from araflow.core.table import Table

NO_CLASS = "(no class)"
"""What is shown for the class of clips that have none."""
ALL = "(all)"
"""What is shown before the sum, and nowhere else."""
UNKNOWN = "unknown"
"""What is shown for a number that nobody knows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Counts by class.

    Attributes:
        classes: Per class its name (``class``) and its counts by column.
        total: The counts of all classes together, by column.
    """

    classes: list[dict[str, Any]]
    total: dict[str, Any]

    @classmethod
    def of(
        cls, counts: Mapping[tuple[str | None, str], int], columns: Sequence[str], labels: Iterable[str] = ()
    ) -> Tally:
        """Arrange counts.

        Args:
            counts: Class and column to how many; a class of ``None`` stands for the clips that have none.
            columns: In their order; what is not counted is 0.
            labels: Classes to begin with, whether anything was counted or not; others follow by name, then no class.
        """
        found = {label for label, _ in counts}
        order: list[str | None] = list(dict.fromkeys([*labels, *sorted(label for label in found if label is not None)]))
        order += [None] if None in found else []
        rows = [{column: counts.get((label, column), 0) for column in columns} for label in order]
        classes = [{"class": label or NO_CLASS, **row} for label, row in zip(order, rows, strict=True)]
        return cls(classes, {column: sum(row[column] for row in rows) for column in columns})

    def beside(self, leaks: LeakageReport, *, across_classes: bool = False) -> Tally:
        """Return it with columns of leakage.

        Args:
            leaks: Of the same classes.
            across_classes: Also count what is in training of any class.
        """
        of = {label or NO_CLASS: one for label, one in leaks.by_class.items() if label is not None}
        if (nameless := leaks.by_class.get(None)) is not None and NO_CLASS not in of:
            of[NO_CLASS] = nameless

        def columns(one: Leakage) -> dict[str, Any]:
            wider = {"leaked across classes": one.any_class} if across_classes else {}
            return {"leaked": one.same_class, **wider, "source unknown": one.unknown}

        nothing = Leakage(0, 0, 0)
        classes = [row | columns(of.get(row["class"], nothing)) for row in self.classes]
        return Tally(classes, self.total | columns(leaks.total))


def table(classes: Sequence[Mapping[str, Any]], total: Mapping[str, Any], title: str = "") -> Table:
    """Return the table that people see of a tally."""
    rows = [{name: UNKNOWN if cell is None else cell for name, cell in row.items()} for row in (*classes, total)]
    return Table.of(rows[:-1], {"class": ALL, **rows[-1]}, title)
