"""What commands show as tables, on standard output; machines take ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from araflow.core import tally
from araflow.core.leakage import NO_GROUPS
from araflow.core.listing import WHYS, PassedOver
from araflow.core.screen import echo, visible
from araflow.core.table import Table

if TYPE_CHECKING:
    from araflow.build.plan import Plan
    from araflow.store.manifest import Manifest


def print_summary(manifest: Manifest) -> None:
    """Print clips by class, outcome and split."""
    from araflow.store import duplicates, summary

    drawn = " (drawn, not footage)" if manifest.settings.get("dataset", {}).get("name") == "sample" else ""
    by_class = summary.by_class(manifest)
    tally.table(by_class.classes, by_class.total, f"{manifest.name}{drawn}").print()
    for line in summary.kept(manifest):
        echo(visible(line))
    if by_class.total["leaked"] is None:
        echo(f"test clips whose source is also in training: {NO_GROUPS}")
    if (twice := duplicates.find(manifest)).videos:
        echo(visible(twice.line))


def print_clips(manifest: Manifest) -> None:
    """Print one line per clip."""
    names = ("key", "split", "outcome", "frames", "flows", "reason")
    Table.of([dict(zip(names, row, strict=True)) for row in manifest.columns(*names)]).print()


def print_plan(plan: Plan) -> None:
    """Print a plan."""
    total = plan.total
    tally.table(plan.classes, total).print()
    if not total["test"]:
        echo("no test clips")
    elif total["leaked"] is None:
        echo(f"test clips whose source is also in training: {NO_GROUPS}")
    else:
        known = total["test"] - total["source unknown"]
        echo(
            f"{total['leaked']} of {known} test clips share their source title with a "
            f"training clip of their class, {total['leaked across classes']} with one of any class"
            + (f"; the source of {total['source unknown']} more is unknown" if total["source unknown"] else "")
        )
    print_passed_over(plan.passed_over)
    echo(f"optical flow: {plan.backend}")
    if plan.present is None:
        echo("no videos at hand: hours and gigabytes are not estimated")
        return
    echo(f"videos at hand: {plan.present:,} of {total['listed']:,} listed")
    if plan.estimate is None:
        echo("none of the videos tried could be measured")
        return
    guess = plan.estimate
    echo(
        f"about {guess['frames']:,.0f} frames, {_hours(guess['hours'])} on {guess['workers']:.0f} processes "
        f"({_hours(guess['cpu_hours'])} of CPU), {(guess['rgb_bytes'] + guess['flow_bytes']) / 1e9:.2f} GB "
        f"({guess['rgb_bytes'] / 1e9:.2f} rgb, {guess['flow_bytes'] / 1e9:.2f} flow); measured on {plan.measured}"
    )


def print_passed_over(passed_over: Sequence[PassedOver]) -> None:
    """Print what became no clip, and why."""
    if passed_over:
        names = {"why": "passed over", "what": "kind", "count": "files", "example": "such as"}
        rows = [{title: getattr(one, name) for name, title in names.items()} for one in passed_over]
        Table.of([{**row, "passed over": WHYS[row["passed over"]]} for row in rows]).print()


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
