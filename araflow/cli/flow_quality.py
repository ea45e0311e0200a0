"""The command ``flow-quality``: error and speed of optical flow on pairs whose flow is known."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.options import JSON
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.media.fields import FlowField
    from araflow.optical.quality.measure import Quality, Setting
    from araflow.optical.quality.pairs import Pair

REPORT, PICTURE = "flow_quality.json", "flow_quality.jpg"


@click.command("flow-quality")
@click.option(
    "--backend", "backends", multiple=True, help="auto, or a backend by name; may be repeated.  [default: auto]"
)
@click.option(
    "--algorithm", "algorithms", multiple=True, help="One of its algorithms; may be repeated.  [default: all]"
)
@click.option("--preset", "presets", multiple=True, help="A preset; may be repeated.  [default: all]")
@click.option(
    "--pairs",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of pairs in Middlebury's naming: frame10.png, frame11.png and flow10.flo, in it or in each of its "
    "folders; may be repeated.",
)
@click.option("--generated/--no-generated", default=True, show_default=True, help="Eight drawn pairs of known flow.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=f"Write {REPORT} and {PICTURE} there.")
@JSON
def flow_quality(
    backends: tuple[str, ...],
    algorithms: tuple[str, ...],
    presets: tuple[str, ...],
    folders: tuple[Path, ...],
    generated: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure optical flow against the truth: error as computed, error as stored, and speed.

    Fields are stored and read back as araflow stores them, as 8-bit u and v images (both quantizers, JPEG quality 95),
    and as 16-bit PNG: people train on stored fields. Generated pairs are of four kinds: small and large motion, motion
    boundaries, occlusion. Times are of one thread; OpenCV's tvl1 takes minutes. Writes nothing without --out.

    \b
    araflow flow-quality
    araflow flow-quality --backend opencv --algorithm dis --pairs middlebury/ --out quality/
    araflow flow-quality --preset fast --preset balanced --no-generated --pairs middlebury/ --json
    """
    if not folders and not generated:
        raise click.UsageError("nothing to measure on: give --pairs DIR, or leave --no-generated out")
    from araflow.core import written
    from araflow.core.files import check_writable
    from araflow.optical.quality import measure as quality
    from araflow.optical.quality import pairs as flow_pairs
    from araflow.optical.quality.sheet import FlowSheet

    start = time.monotonic()
    chosen = quality.settings(backends or ("auto",), algorithms, presets)
    if out is not None:
        written.check([out / REPORT, out / PICTURE], out)
        check_writable(out / REPORT)  # what cannot be written fails now, not after minutes
    pairs = [pair for folder in folders for pair in flow_pairs.middlebury(folder)]
    pairs += flow_pairs.generated() if generated else []
    names = [pair.name for pair in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"--pairs: two pairs are called {min(twice)}; rename one of their folders")
    sheet = FlowSheet()
    results: list[Quality] = []

    def draw(pair: Pair, setting: Setting, field: FlowField) -> None:
        sheet.add(pair, str(setting), field)

    terminal = sys.stderr.isatty()
    bar = click.progressbar(chosen, file=sys.stderr, show_pos=True) if terminal else contextlib.nullcontext(chosen)
    with bar as steps:
        for setting in steps:
            results += quality.measure([setting], pairs, on_field=None if out is None else draw)
    averages = quality.means(results)
    content = {
        "bound": quality.BOUND,
        "jpeg_quality": quality.JPEG_QUALITY,
        "units": {"epe": "pixels", "over_1, over_3, over_5": "per cent of pixels", "ms": "milliseconds per pair"},
        "means": [one.to_json() for one in averages],
        "pairs": [one.to_json() for one in results],
    }
    if as_json:
        echo_json(content)
    else:
        _print(averages)
    if out is not None:
        report = (json.dumps(content, indent=2) + "\n").encode()
        written.write({out / REPORT: report, out / PICTURE: sheet.encode()}, out)
    if not as_json:
        if out is not None:
            echo(f"report:  {out / REPORT}\npicture: {out / PICTURE}")
        echo(_last_line(averages, len(pairs), time.monotonic() - start))


def _print(averages: Sequence[Quality]) -> None:
    from araflow.core.table import Table, figures, names

    quantizers = list(averages[0].stored)
    rows = []
    for one in averages:
        preset = one.setting.preset if one.setting.has_presets else ""
        errors = (f"{value:.1f}" for value in (one.computed.over_1, one.computed.over_3, one.computed.over_5))
        stored = (f"{one.stored[name].epe:.3f}" for name in quantizers)
        numbers = (str(one.pairs), f"{one.ms:.1f}", f"{one.computed.epe:.3f}", *errors, *stored)
        rows.append((one.setting.backend, one.setting.algorithm, preset, one.kind, *numbers))
    columns = names("backend", "algorithm", "preset", "kind")
    columns += figures("pairs", "ms", "EPE", ">1", ">3", ">5", *quantizers)
    title = "EPE in pixels; pixels off by more than 1, 3, 5 in per cent; EPE as stored"
    Table(columns, rows, title=title).print()


def _last_line(averages: Sequence[Quality], pairs: int, seconds: float) -> str:
    """Name the most accurate and the fastest setting, each kind of pairs with the same weight."""
    groups: dict[str, list[Any]] = {}
    for one in averages:
        groups.setdefault(str(one.setting), []).append((one.stored["bound"].epe, one.ms))
    error = {name: sum(epe for epe, _ in rows) / len(rows) for name, rows in groups.items()}
    cost = {name: sum(ms for _, ms in rows) / len(rows) for name, rows in groups.items()}
    best, fastest = min(error, key=error.__getitem__), min(cost, key=cost.__getitem__)
    return (
        f"{len(groups)} settings on {pairs} pairs in {seconds:.0f} s; mean over kinds: lowest error as stored (bound) "
        f"{best}, {error[best]:.3f} px at {cost[best]:.1f} ms; fastest {fastest}, {error[fastest]:.3f} px at "
        f"{cost[fastest]:.1f} ms"
    )
