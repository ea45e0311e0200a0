"""Evaluations as tables: for a terminal, and as Markdown for summaries and reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from araflow.core.splits import Leakage

if TYPE_CHECKING:
    from rich.console import Console

    from araflow.recognition.evaluation.evaluate import Evaluation
    from araflow.recognition.evaluation.metrics import ClassMetrics, Metrics, Rate

Leaked: TypeAlias = Leakage | Sequence[Leakage] | None
"""What ``splits.leakage`` returned, or of it the last entry alone; ``None`` where sources are not known."""
_CLASSES_SHOWN = 30
"""More classes than that fill a screen: those of lowest recall are shown."""
_WIDE = 160
"""Columns when standard output is no terminal, so that nothing is cut in a file."""
_NOTHING = "–"


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Headings.
        rows: As many cells as headings each.
        left: How many of the first columns are names; the others are figures, aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1

    def markdown(self) -> str:
        """Return it as a GitHub-flavoured Markdown table, without its title."""
        rules = ["---" if number < self.left else "---:" for number in range(len(self.columns))]
        lines = [self.columns, rules, *self.rows]
        return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)

    def print(self, console: Console | None = None) -> None:
        """Print it; on standard output where no console is given."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        if console is None:
            console = Console()
            console = console if console.is_terminal else Console(width=_WIDE)
        table = Table(title=Text(self.title), title_justify="left", box=None, pad_edge=False, header_style="bold")
        for number, name in enumerate(self.columns):
            table.add_column(Text(name), justify="left" if number < self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))  # as text: a class may be named [b]
        console.print(table)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def overall(evaluation: Evaluation, leakage: Leaked = None) -> Grid:
    """Return accuracies of all videos together, and beside them what they are worth: chance and leakage."""
    found = evaluation.metrics
    count = found.top1.count
    rows = [("top-1", _percent(found.top1.value), _interval(found.top1), f"{found.top1.hits:,} of {count:,}")]
    if found.k < len(evaluation.labels):
        rows.append(
            (f"top-{found.k}", _percent(found.top5.value), _interval(found.top5), f"{found.top5.hits:,} of {count:,}")
        )
    present = sum(entry.recall.count > 0 for entry in found.classes)
    rows.append(
        ("mean class accuracy", _percent(found.mean_class), "", f"{present:,} of {len(found.classes):,} classes")
    )
    majority = found.majority
    rows.append(
        (f"always {found.majority_label}", _percent(majority.value), "", f"{majority.hits:,} of {majority.count:,}")
    )
    total = _total(leakage)
    if total is not None:
        for name, leaked in (("leaked", total.same_class), ("leaked across classes", total.any_class)):
            share = leaked / total.test if total.test else math.nan
            rows.append((name, _percent(share), "", f"{leaked:,} of {total.test:,}"))
    return Grid(_title(evaluation), ("", "share", "95 % interval", "videos"), tuple(rows))


def by_class(evaluation: Evaluation, most: int | None = None) -> Grid:
    """Return recall, precision and F1 per class; of more than ``most`` classes those of lowest recall."""
    entries: Sequence[ClassMetrics] = evaluation.metrics.classes
    title = "per class"
    if most is not None and len(entries) > most:
        present = [entry for entry in entries if entry.recall.count]
        entries = sorted(present, key=lambda entry: entry.recall.value)[:most]
        title = f"per class: the {len(entries)} of lowest recall, of {len(evaluation.labels):,}"
    rows = tuple(
        (
            entry.label,
            f"{entry.recall.count:,}",
            _percent(entry.recall.value),
            _interval(entry.recall),
            _percent(entry.precision.value),
            _percent(entry.f1),
        )
        for entry in entries
    )
    return Grid(title, ("class", "videos", "recall", "95 % interval", "precision", "F1"), rows)


def by_attribute(evaluation: Evaluation) -> Grid:
    """Return top-1 by attribute value; no rows where no attribute is known."""
    rows = tuple(
        (name, value, f"{rate.count:,}", _percent(rate.value), _interval(rate))
        for name, rates in evaluation.metrics.attributes.items()
        for value, rate in rates.items()
    )
    return Grid("per attribute", ("attribute", "value", "videos", "top-1", "95 % interval"), rows, left=2)


def print_evaluation(evaluation: Evaluation, leakage: Leaked = None, *, console: Console | None = None) -> None:
    """Print an evaluation.

    Args:
        evaluation: What to show.
        leakage: Of the split that it was made on.
        console: Where; ``None``: standard output.
    """
    for grid in (overall(evaluation, leakage), by_class(evaluation, _CLASSES_SHOWN), by_attribute(evaluation)):
        if grid.rows:
            grid.print(console)


def markdown(evaluation: Evaluation, leakage: Leaked = None) -> str:
    """Return an evaluation as Markdown, with every class.

    Args:
        evaluation: What to show.
        leakage: Of the split that it was made on.
    """
    first, *others = (overall(evaluation, leakage), by_class(evaluation), by_attribute(evaluation))
    parts = [f"# {first.title}\n\n{first.markdown()}"]
    parts += [f"## {grid.title.capitalize()}\n\n{grid.markdown()}" for grid in others if grid.rows]
    if _total(leakage) is not None:
        parts.append(
            "Leaked: test videos whose source (film, recording) also gave training videos, of the same class or of "
            "any. A recogniser may know them by their scene.\n"
        )
    return "\n".join(parts)


def side_by_side(results: Mapping[str, tuple[Evaluation, Leaked]]) -> Grid:
    """Return evaluations under several protocols, one per row, with how much of each test set leaked.

    Args:
        results: Protocol to its evaluation and the leakage of its split.

    Returns:
        A table with ``print()`` and ``markdown()``.
    """
    columns = ("protocol", "test clips", "top-1", "95 % interval", "mean class", "leaked", "leaked across classes")
    rows = tuple(
        (protocol, *_figures(evaluation.metrics), *_leaked(_total(leakage)))
        for protocol, (evaluation, leakage) in results.items()
    )
    return Grid("protocols side by side", columns, rows)


def _figures(metrics: Metrics) -> tuple[str, ...]:
    top1 = metrics.top1
    return f"{top1.count:,}", _percent(top1.value), _interval(top1), _percent(metrics.mean_class)


def _leaked(total: Leakage | None) -> tuple[str, str]:
    if total is None:
        return _NOTHING, _NOTHING
    return f"{total.same_class:,} of {total.test:,}", f"{total.any_class:,} of {total.test:,}"


def _total(leakage: Leaked) -> Leakage | None:
    if leakage is None or isinstance(leakage, Leakage):
        return leakage
    return leakage[-1] if leakage else None


def _title(evaluation: Evaluation) -> str:
    splits = sorted({str(row["split"]) for row in evaluation.rows if row.get("split")})
    return f"{', '.join(splits) or 'evaluation'}: {len(evaluation.keys):,} videos, {len(evaluation.labels):,} classes"


def _percent(share: float) -> str:
    return _NOTHING if math.isnan(share) else f"{100 * share:.1f} %"


def _interval(rate: Rate) -> str:
    low, high = rate.interval
    return _NOTHING if not rate.count else f"{100 * low:.1f} to {100 * high:.1f}"
