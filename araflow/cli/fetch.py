"""``araflow fetch``: download or take in a dataset."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.console import INCOMPLETE
from araflow.cli.options import JSON
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.acquire.statuses import Acquired
    from araflow.core.spec import DatasetSpec


@click.command(
    epilog="Exit status: 0 every listed clip is there; 1 failed, or a setting is wrong (what has arrived is kept: the "
    "same command goes on from there); 2 wrong options; 3 finished with clips missing or cut short; 130 interrupted."
)
@click.argument("name")
@click.option("--to", "folder", metavar="DIR", help="The dataset's folder.  [default: the cache]")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence; otherwise you are asked, once.")
@click.option("--only", multiple=True, metavar="CLASS[,CLASS]...", help="Only these classes; repeatable.")
@click.option("--split", "subsets", multiple=True, help="train, val or test (Kinetics); repeatable.")
@click.option("--clips-per-class", metavar="N", help="A sample: N clips of each class and split (Kinetics).")
@click.option("--mirror", metavar="HOST|URL", help="Only from hosts whose name holds this, or from this address.")
@click.option(
    "--from",
    "given",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="What you have: an archive or folder in any layout; repeatable. Then no videos are downloaded.",
)
@click.option(
    "--keep-archives/--delete-archives",
    default=None,
    help="Keep downloaded archives once unpacked.  [default: keep; Kinetics: delete]",
)
@click.option(
    "--youtube",
    is_flag=True,
    help="Ask YouTube for clips that no archive holds (Kinetics); needs yt-dlp and ffmpeg, and YouTube's terms apply.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be fetched; ask no server, write nothing.")
@JSON
def fetch(
    name: str,
    folder: str | None,
    accept_licence: bool,
    only: tuple[str, ...],
    subsets: tuple[str, ...],
    clips_per_class: str | None,
    mirror: str | None,
    given: tuple[Path, ...],
    keep_archives: bool | None,
    youtube: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Download a dataset, verified, or take in what you have.

    NAME is hmdb51, ucf101, kinetics400, kinetics600 or kinetics700_2020.

    An interrupted download goes on where it ended. Builds of the same dataset then find it without any further setting
    (with --to DIR: dataset.folder=DIR).

    \b
    araflow fetch hmdb51 --dry-run
    araflow fetch hmdb51 --only walk,run --accept-licence
    araflow fetch hmdb51 --from hmdb51_org.rar --from test_train_splits.rar
    araflow fetch kinetics400 --split val --clips-per-class 2
    """
    from araflow import datasets
    from araflow.acquire import registry
    from araflow.cli.console import downloads
    from araflow.core import spec_file
    from araflow.core.errors import SourceError, did_you_mean

    settings: dict[str, Any] = {
        "name": name,
        "classes": [label.strip() for text in only for label in text.split(",") if label.strip()] or None,
        "folder": folder,
        "mirror": mirror,
        "keep_archives": keep_archives,
        "clips_per_class": clips_per_class,
        "youtube": youtube,
    }
    if subsets:
        settings["subsets"] = [word for text in subsets for word in text.split(",")]
    if name not in (known := registry.names()):
        names = ", ".join(known)
        raise SourceError(f"{name}: nothing to fetch; datasets with an address: {names}{did_you_mean(name, known)}")
    dataset = {key: value for key, value in settings.items() if value is not None}
    spec = spec_file.parse({"name": "fetch", "dataset": dataset, "out": "."}, "fetch").dataset
    offer = datasets.offer(spec, given)
    own_subsets = datasets.load(spec.name).subsets()
    if (subsets or clips_per_class) and not own_subsets:
        raise click.UsageError(f"--split and --clips-per-class are for Kinetics; {name} comes whole")
    if youtube and (given or not own_subsets):
        raise click.UsageError(f"--youtube is for downloads of Kinetics{'; leave --from out' if given else ''}")
    if dry_run:
        if as_json:
            echo_json(offer)
        else:
            echo(_offered(offer, given))
        return
    if not (accept_licence or offer["licence_accepted"]):
        _ask(offer, given)
    with downloads() as progress:
        got = datasets.acquire(spec, given=given, progress=progress)
    _finish(got, spec, as_json)


def _ask(offer: dict[str, Any], given: tuple[Path, ...]) -> None:
    echo(_offered(offer, given), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("the licence has not been accepted yet: --accept-licence accepts it")
    try:
        accepted = click.confirm("Do you accept this licence?", err=True)
    except click.Abort:
        raise KeyboardInterrupt from None
    if not accepted:
        echo("not accepted; nothing was downloaded", err=True)
        sys.exit(1)


def _offered(offer: dict[str, Any], given: tuple[Path, ...]) -> str:
    from araflow.acquire.fetch import amount

    lines = [f"{offer['title']}", f"licence: {offer['licence']}", f"cite:    {offer['citation']}"]
    lines += [f"videos:  {path} (yours)" for path in given]
    for file in offer["files"]:
        size = amount(file["size"]) if file["size"] else "size unknown"
        lines.append(f"{file['what']}: {size} from {file['url']}")
    if not offer["files"]:
        lines.append("nothing to download: it is there")
    lines.append(f"to:      {offer['folder']} ({amount(offer['free'])} free)")
    return "\n".join(lines)


def _finish(got: Acquired, spec: DatasetSpec, as_json: bool) -> None:
    from araflow.acquire.fetch import amount
    from araflow.acquire.statuses import STATUS_FILE
    from araflow.cli.tables import print_passed_over
    from araflow.core import tally

    total = got.total
    counts = ", ".join(
        f"{total[status]:,} {status}" for status in ("ok", "replaced", "corrupt", "missing") if total[status]
    )
    line = f"{got.folder}: {total['listed']:,} clips listed: {counts or 'none'}; {amount(got.bytes)}"
    if over := sum(one.count for one in got.passed_over):
        line += f"; {over:,} of your files passed over"
    if as_json:
        echo_json(dataclasses.asdict(got))
    else:
        tally.table(got.classes, total).print()
        print_passed_over(got.passed_over)
        for remark in got.remarks:
            echo(remark)
        if got.absent:
            echo("missing and corrupt clips are rows of a build all the same; --from FILE takes in what you have")
        echo(f"per clip: {Path(got.folder) / STATUS_FILE}\n{line}")
    sys.exit(INCOMPLETE if got.absent and spec.clips_per_class is None else 0)
