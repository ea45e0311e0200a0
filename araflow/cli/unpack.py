"""``araflow unpack``: the extractor alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from araflow.core.screen import echo, echo_json, visible
from araflow.core.words import counted


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="DIR", help="Folder to make; may be empty.")
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Unpack members that match, such as 'walk/*.avi', or a folder's name; repeatable.",
)
@click.option(
    "--names", metavar="ENCODING", default="", help="What names are written in that do not say so, such as cp932."
)
@click.option("--list", "list_only", is_flag=True, help="Show what would be unpacked; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def unpack(
    archive: Path, target: Path | None, only: tuple[str, ...], names: str, list_only: bool, as_json: bool
) -> None:
    """Unpack ARCHIVE (zip, tar, RAR) safely: the whole folder appears, every byte verified, or nothing does.

    Names that lead out of the folder are refused. Links and devices are left out and named, AppleDouble files counted.
    Compressed RAR members need a tool, such as unar; whatever it writes is held against the checksums.

    \b
    araflow unpack hmdb51_org.rar --to hmdb51
    araflow unpack hmdb51_org.rar --to hmdb5 --only walk.rar --only run.rar
    araflow unpack part_0.tar.gz --list
    """
    from araflow.acquire import archives

    try:
        "".encode(names or "utf-8")
    except LookupError:
        raise click.UsageError(f"--names: Python knows no encoding {names!r}; one is cp932, cp866, gbk") from None
    wants = _wants(only)
    if list_only:
        _list(archive, wants, names, as_json)
        return
    if target is None:
        raise click.UsageError("--to DIR says where to unpack; --list shows what is there")
    done = archives.unpack(archive, target, wants, encoding=names)
    if as_json:
        echo_json({"archive": str(archive), "to": str(target), **dataclasses.asdict(done)})
        return
    left_out = "".join(
        f", {count:,} {what}"
        for count, what in ((done.declined, "not asked for"), (done.dropped, "AppleDouble dropped"))
        if count
    )
    echo(f"{target}: {_files(done.files, done.bytes)} from {done.kind} by {done.how}, all verified{left_out}")
    for line in archives.remarks(done):
        echo(visible(line))


def _list(archive: Path, wants: Callable[[str], bool], names: str, as_json: bool) -> None:
    from araflow.acquire import archives

    with archives.open_archive(archive, names) as opened:
        members = [member for member in opened.members() if wants(member.name)]
        dropped, kind = opened.dropped, opened.kind
    if as_json:
        content = {"archive": str(archive), "kind": kind, "dropped": dropped, "left_out": opened.left_out}
        content |= {"remarks": opened.remarks, "members": [dataclasses.asdict(member) for member in members]}
        echo_json(content)
        return
    for member in members:
        echo(visible(f"{member.size:>15,}  {member.name}"))
    left_out = f", {dropped:,} AppleDouble left out" if dropped else ""
    echo(f"{archive}: {kind}, {_files(len(members), sum(member.size for member in members))}{left_out}")
    for line in archives.remarks(opened):
        echo(visible(line))


def _files(number: int, size: int) -> str:
    return f"{counted(number, 'file')}, {size:,} bytes"


def _wants(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a function that says whether a name is wanted: as it is, by pattern, or by a folder above it."""
    from fnmatch import fnmatchcase

    def wants(name: str) -> bool:
        return not patterns or any(
            name == pattern or fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern.rstrip('/')}/*")
            for pattern in patterns
        )

    return wants
