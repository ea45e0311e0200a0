"""Evaluations as tables: for a terminal, and as Markdown for summaries and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from araflow.core.leakage import Leakage
from araflow.core.screen import as_markdown
from araflow.core.table import Table, figures, names
from araflow.core.words import counted
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.metrics import ClassMetrics, Metrics, Rate

if TYPE_CHECKING:
    from rich.console import Console

_CLASSES_SHOWN = 30
"""More classes than that fill a screen: those of lowest recall are shown."""
_NOTHING = "–"


def overall(evaluation: Evaluation, leakage: Leakage | None = None) -> Table:
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
    if leakage is not None:
        for name, leaked in (("leaked", leakage.same_class), ("leaked across classes", leakage.any_class)):
            rows.append((name, _percent(leakage.share(leaked)), "", leakage.told(leaked)))
    columns = (*names(""), *figures("share", "95 % interval", "videos"))
    return Table(columns, rows, title=_title(evaluation))


def warned(evaluation: Evaluation) -> Table:
    """Return what makes the figures worth less than they seem; no rows where there is nothing."""
    return Table(names("what these figures are worth"), [(text,) for text in evaluation.warnings], title="warnings")


def by_class(evaluation: Evaluation, most: int | None = None) -> Table:
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
    columns = (*names("class"), *figures("videos", "recall", "95 % interval", "precision", "F1"))
    return Table(columns, rows, title=title)


def by_attribute(evaluation: Evaluation) -> Table:
    """Return top-1 by attribute value; no rows where no attribute is known."""
    rows = tuple(
        (name, value, f"{rate.count:,}", _percent(rate.value), _interval(rate))
        for name, rates in evaluation.metrics.attributes.items()
        for value, rate in rates.items()
    )
    columns = (*names("attribute", "value"), *figures("videos", "top-1", "95 % interval"))
    return Table(columns, rows, title="per attribute")


def print_evaluation(evaluation: Evaluation, leakage: Leakage | None = None, *, console: Console | None = None) -> None:
    """Print an evaluation.

    Args:
        evaluation: What to show.
        leakage: Of the split that it was made on, in all; ``None`` where sources are not known.
        console: Where; ``None``: standard output.
    """
    first = (overall(evaluation, leakage), warned(evaluation))
    for table in (*first, by_class(evaluation, _CLASSES_SHOWN), by_attribute(evaluation)):
        if table.rows:
            table.print(console)


def markdown(evaluation: Evaluation, leakage: Leakage | None = None) -> str:
    """Return an evaluation as Markdown, with every class.

    Args:
        evaluation: What to show.
        leakage: Of the split that it was made on, in all; ``None`` where sources are not known.
    """
    first, *others = (overall(evaluation, leakage), warned(evaluation), by_class(evaluation), by_attribute(evaluation))
    parts = [f"# {as_markdown(first.title)}\n\n{first.markdown()}"]
    parts += [f"## {table.title.capitalize()}\n\n{table.markdown()}" for table in others if table.rows]
    if leakage is not None:
        parts.append(
            "Leaked: test videos whose source (film, recording) also gave training videos, of the same class or of "
            "any, or whose very bytes are in training. A recogniser may know them by their scene.\n"
        )
    return "\n".join(parts)


def side_by_side(results: Mapping[str, tuple[Evaluation, Leakage | None]]) -> Table:
    """Return evaluations under several protocols, one per row, with how much of each test set leaked.

    Args:
        results: Protocol to its evaluation and the leakage of its split.

    Returns:
        A table with ``print()`` and ``markdown()``.
    """
    shown = ("test clips", "top-1", "95 % interval", "mean class", "leaked", "leaked across classes")
    rows = tuple(
        (protocol, *figure_cells(evaluation.metrics), *_leaked(leakage))
        for protocol, (evaluation, leakage) in results.items()
    )
    return Table((*names("protocol"), *figures(*shown)), rows, title="protocols side by side")


def fused(parts: Mapping[str, Evaluation], together: Evaluation) -> Table:
    """Return what several recognisers are worth each, and fused: one per row, of the same videos.

    Args:
        parts: A recogniser's name to its evaluation.
        together: What they say fused.
    """
    rows = [(name, *figure_cells(own.metrics)) for name, own in {**parts, "fused": together}.items()]
    columns = (*names("recogniser"), *figures("videos", "top-1", "95 % interval", "mean class"))
    return Table(columns, rows, title="each alone, and fused")


def figure_cells(metrics: Metrics) -> tuple[str, ...]:
    """Return the cells of a row: videos, top-1, its 95 % interval, mean class accuracy."""
    top1 = metrics.top1
    return f"{top1.count:,}", _percent(top1.value), _interval(top1), _percent(metrics.mean_class)


def _leaked(total: Leakage | None) -> tuple[str, str]:
    if total is None:
        return _NOTHING, _NOTHING
    return total.told(total.same_class), total.told(total.any_class)


def _title(evaluation: Evaluation) -> str:
    splits = sorted({str(row["split"]) for row in evaluation.rows if row.get("split")})
    videos, classes = counted(len(evaluation.keys), "video"), counted(len(evaluation.labels), "class", "classes")
    return f"{', '.join(splits) or 'evaluation'}: {videos}, {classes}"


def _percent(share: float) -> str:
    return _NOTHING if math.isnan(share) else f"{100 * share:.1f} %"


def _interval(rate: Rate) -> str:
    low, high = rate.interval
    return _NOTHING if not rate.count else f"{100 * low:.1f} to {100 * high:.1f}"
