"""Compressed RAR members: the best tool that is on this machine, and a check of every byte that it writes.

The order is what was found by trying (Debian 12, November 2026). RAR 1.5 to 4: unar unpacks all; bsdtar cannot do solid
archives, and libarchive before 3.8.8 gets some streams wrong. RAR 5: bsdtar unpacks all; unar fails on some and on
solid ones. RARLAB's unrar is not free software, but unpacks everything, so it comes first where it is. Debian's 7-Zip
cannot read RAR. None is trusted: exit statuses are quoted in errors and decide nothing.
"""

from __future__ import annotations

import dataclasses
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from araflow.acquire.archives._output import CHUNK, MARGIN, Output, checksum, scratch
from araflow.acquire.archives._rar_headers import Header, Headers
from araflow.acquire.archives._subprocess import StoppedError, run
from araflow.core.errors import NoToolError
from araflow.core.files import draft_name

_MOST_NAMED = 500
"""Members named on a command line at most; more than that, and the whole archive is unpacked."""

_MEANT_OTHERWISE = frozenset("*?[]\\^$")
"""Letters of a name that bsdtar takes for a pattern."""

_LOG = 1 << 20
"""Bytes that a tool may write beside the members: messages, and what folders take."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A program that unpacks RAR.

    Attributes:
        name: The program.
        package: What to install for it on Debian and Ubuntu; empty: nothing to recommend.
        command: Makes the arguments from the archive, the folder to write to, and the members (``None``: all).
        selects: Whether it can be told these members, safely.
        genuine: Whether the program of this name is the one that is meant.
    """

    name: str
    package: str
    command: Callable[[str, str, list[Header] | None], list[str]]
    selects: Callable[[list[Header]], bool]
    genuine: Callable[[str], bool] = lambda _: True


def _unar(archive: str, folder: str, members: list[Header] | None) -> list[str]:
    # -D: no folder of its own; -nr: archives inside stay packed; members by number, so no name is taken for a pattern
    options = ["-q", "-f", "-D", "-nr", "-k", "skip", "-o", folder]
    return [*options, archive] if members is None else [*options, "-i", archive, *(str(one.index) for one in members)]


def _bsdtar(archive: str, folder: str, members: list[Header] | None) -> list[str]:
    # -o, -m: owner and time are not the archive's
    options = ["-x", "-o", "-m", "--no-same-permissions", "-f", archive, "-C", folder]
    return options if members is None else [*options, "--", *(one.name for one in members)]


def _unrar(archive: str, folder: str, members: list[Header] | None) -> list[str]:
    return ["x", "-y", "-o+", "-p-", "-idq", "--", archive, *(one.name for one in members or ()), f"{folder}/"]


def _is_rarlabs(program: str) -> bool:
    """Whether ``unrar`` is RARLAB's; Debian gives another program that name, too."""
    try:
        shown = subprocess.run(
            [program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"Alexander Roshal" in shown.stdout


def _are_plain(members: list[Header]) -> bool:
    """Whether no name would be taken for a pattern."""
    return not any(_MEANT_OTHERWISE & set(one.name) or one.name.startswith("@") for one in members)


UNAR = Tool("unar", "unar", _unar, lambda _: True)
BSDTAR = Tool("bsdtar", "libarchive-tools", _bsdtar, _are_plain)
UNRAR = Tool("unrar", "", _unrar, _are_plain, _is_rarlabs)

ORDER = {4: (UNRAR, UNAR, BSDTAR), 5: (UNRAR, BSDTAR, UNAR)}
"""By the generation of the archive, the best first."""


def unpack(headers: Headers, wanted: list[Header], output: Output) -> list[str]:
    """Unpack members with the tools that are here, one after another until every member is right.

    Args:
        headers: Of the whole archive.
        wanted: What is to be unpacked; room for it is reserved.
        output: Where to.

    Returns:
        The tools that were of use.

    Raises:
        ArchiveError: No tool is here, or none wrote what the headers declare; says what each did wrong.
    """
    used, faults, absent = [], [], []
    left = wanted
    for tool in ORDER[headers.generation]:
        program = shutil.which(tool.name)
        if program is None or not tool.genuine(program):
            absent.append(tool.package)
            continue
        wrong, said = _try(tool, program, headers, left, output)
        if len(wrong) < len(left):
            used.append(tool.name)
        if not wrong:
            return used
        left = [header for header, _ in wrong]
        which = f"{len(wrong):,} of {len(wanted):,} members wrong: {left[0].name!r} {wrong[0][1]}"
        faults.append(f"\n  {tool.name} ({said}): {which}")
    packages = " ".join(filter(None, absent))
    install = f"Install what is missing: apt install {packages}" if packages else "No other tool is known"
    way_out = f"{install}; or unpack it yourself and give the folder"
    what = f"{output.archive}: member {left[0].name!r} is compressed (RAR{headers.generation}) and "
    if not faults:
        raise NoToolError(f"{what}no tool that unpacks it is on this machine. {way_out}")
    raise NoToolError(f"{what}no tool here wrote what its header declares:{''.join(faults)}\n{way_out}")


def _try(
    tool: Tool, program: str, headers: Headers, wanted: list[Header], output: Output
) -> tuple[list[tuple[Header, str]], str]:
    """Return the members that one tool got wrong, each with what was wrong, and what the tool said."""
    some = len(wanted) < len(headers.files) and len(wanted) <= _MOST_NAMED and tool.selects(wanted)
    size = sum(header.size for header in wanted) if some else headers.size
    with scratch(output.folder) as folder:
        if not some and shutil.disk_usage(folder).free < size + MARGIN:
            return [(header, "not unpacked") for header in wanted], f"needs {size:,} bytes of free space; not tried"
        arguments = tool.command(str(output.archive.absolute()), str(folder.absolute()), wanted if some else None)
        try:
            said = run([program, *arguments], folder, size + _LOG)
        except StoppedError as error:
            said = str(error)
        wrong = []
        for header in wanted:
            fault = _take(header, folder, output)
            if fault:
                wrong.append((header, fault))
    return wrong, said


def _take(header: Header, folder: Path, output: Output) -> str | None:
    """Move one member to where it belongs if it is right, else return what is wrong with it."""
    path = folder / header.name
    try:
        found = path.lstat()
    except OSError:
        return "was not written"
    # A tool might write links, and what they lead to is not the member: neither the file nor a folder above is one.
    if not stat.S_ISREG(found.st_mode) or path.resolve() != folder.resolve() / header.name:
        return "is not a regular file"
    if found.st_size != header.size:
        return f"has {found.st_size:,} bytes, its header says {header.size:,}"
    if found.st_nlink > 1:  # it has a hard link beside it, or is one to a file elsewhere, which stays as it is
        alone = path.with_name(draft_name())
        shutil.copyfile(path, alone)
        path = alone
    path.chmod(output.folder.stat().st_mode & 0o666)  # as a file made here; the archive's own may be anything
    expected, check = checksum(header.crc32, header.blake2sp)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            check.update(chunk)
    if check.digest() != expected:
        return "has other bytes: the checksum differs from its header's"
    output.adopt(path, header.name)
    return None
