"""What commands show as tables, on standard output; machines take ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from araflow.core.table import Table

if TYPE_CHECKING:
    from araflow.build.plan import Plan
    from araflow.store.manifest import Manifest


def print_summary(manifest: Manifest) -> None:
    """Print clips by class, outcome and split."""
    from araflow.store import summary

    name = str(manifest.metadata["spec"].get("dataset", {}).get("name", ""))
    drawn = " (drawn, not footage)" if name == "sample" else ""
    *classes, total = summary.by_class(manifest)
    Table.of(classes, total, f"{manifest.metadata['name']}{drawn}").print()


def print_clips(manifest: Manifest) -> None:
    """Print one line per clip."""
    names = ("key", "split", "outcome", "frames", "flows", "reason")
    Table.of([{name: row[name] for name in names} for row in manifest.rows()]).print()


def print_plan(plan: Plan) -> None:
    """Print a plan."""
    leaks = {entry.label: entry for entry in plan.leakage}
    rows: list[dict[str, object]] = []
    for row in plan.classes:
        leak = leaks.get(str(row["class"]))
        same, across = (leak.same_class, leak.any_class) if leak else (0, 0)  # a class without clips has no entry
        rows.append({**row, "leaked": same, "leaked across classes": across})
    Table.of(rows[:-1], rows[-1]).print()
    total = plan.leakage[-1]
    click.echo(
        f"{total.same_class} of {total.test} test clips share their source title with a training clip of their class, "
        f"{total.any_class} with one of any class"
    )
    click.echo(f"optical flow: {plan.backend}")
    if plan.present is None:
        click.echo("no videos at hand: hours and gigabytes are not estimated")
        return
    click.echo(f"videos at hand: {plan.present:,} of {plan.classes[-1]['listed']:,} listed")
    if plan.estimate is None:
        click.echo("none of the videos tried could be measured")
        return
    guess = plan.estimate
    click.echo(
        f"about {guess['frames']:,.0f} frames, {_hours(guess['hours'])} on {guess['workers']:.0f} processes "
        f"({_hours(guess['cpu_hours'])} of CPU), {(guess['rgb_bytes'] + guess['flow_bytes']) / 1e9:.2f} GB "
        f"({guess['rgb_bytes'] / 1e9:.2f} rgb, {guess['flow_bytes'] / 1e9:.2f} flow); measured on {plan.measured}"
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
