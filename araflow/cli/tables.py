"""Tables for people, on standard output; machines take ``--json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from araflow.build.plan import Plan
from araflow.cli.doctor import Finding
from araflow.store import summary
from araflow.store.manifest import Manifest

_WIDE = 160
"""Columns when standard output is no terminal, so that nothing is cut in a file."""


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def print_rows(rows: Sequence[Mapping[str, object]], title: str | None = None) -> None:
    """Print one row per mapping; numbers to the right, columns that are 0 throughout left out."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    shown = None if title is None else escape(title)
    table = Table(title=shown, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left", overflow="fold")
    for row in rows:
        last = row is rows[-1] and row[names[0]] == "all"
        table.add_row(
            *(f"{row[n]:,}" if isinstance(row[n], int) else escape(str(row[n])) for n in names),
            style="bold" if last else "",
        )
    _console().print(table)


def print_summary(manifest: Manifest) -> None:
    """Print clips by class, outcome and split."""
    name = str(manifest.metadata["spec"].get("dataset", {}).get("name", ""))
    drawn = " (drawn, not footage)" if name == "sample" else ""
    print_rows(summary.by_class(manifest), f"{manifest.metadata['name']}{drawn}")


def print_clips(manifest: Manifest) -> None:
    """Print one line per clip."""
    names = ("key", "split", "outcome", "frames", "flows", "reason")
    print_rows([{name: row[name] if row[name] is not None else "" for name in names} for row in manifest.rows()])


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what was looked for and found."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("kind", "name", "there", "what was found, or how to get it"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        mark = "[green]yes[/]" if finding.present else "[yellow]no[/]"
        table.add_row(finding.kind, finding.name, mark, escape(finding.detail))
    _console().print(table)


def print_plan(plan: Plan) -> None:
    """Print a plan."""
    leaks = {entry.label: entry for entry in plan.leakage}
    rows: list[dict[str, Any]] = []
    for row in plan.classes:
        leak = leaks.get(str(row["class"]))
        same, across = (leak.same_class, leak.any_class) if leak else (0, 0)  # a class without clips has no entry
        rows.append({**row, "leaked": same, "leaked across classes": across})
    print_rows(rows)
    console = _console()
    total = plan.leakage[-1]
    console.print(
        f"{total.same_class} of {total.test} test clips share their source title with a training clip of their class, "
        f"{total.any_class} with one of any class",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"optical flow: {escape(plan.backend)}", soft_wrap=True, highlight=False)
    if plan.present is None:
        console.print("no videos at hand: hours and gigabytes are not estimated", highlight=False)
        return
    console.print(f"videos at hand: {plan.present:,} of {plan.classes[-1]['listed']:,} listed", highlight=False)
    if plan.estimate is None:
        console.print("none of the videos tried could be measured", highlight=False)
        return
    guess = plan.estimate
    console.print(
        f"about {guess['frames']:,.0f} frames, {_hours(guess['hours'])} on {guess['workers']:.0f} processes "
        f"({_hours(guess['cpu_hours'])} of CPU), {(guess['rgb_bytes'] + guess['flow_bytes']) / 1e9:.2f} GB "
        f"({guess['rgb_bytes'] / 1e9:.2f} rgb, {guess['flow_bytes'] / 1e9:.2f} flow); measured on {plan.measured}",
        soft_wrap=True,
        highlight=False,
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
