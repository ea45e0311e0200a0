"""Unpacking as many small members as HMDB51 has clips, against the tools one would call by hand.

Every tool gets the same archives and an empty folder; what it wrote is counted and summed, and a tool that does not
write all of it has no figure. Times are wall-clock seconds of a process of its own, for araflow, too; starting is also
measured apart, on archives of one member.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

from araflow.core.table import Table, figures, names
from benchmarks.tables import machine

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from rar_writer import rar4, rar5  # type: ignore[import-not-found]

MEMBERS = 6766
"""Clips of HMDB51."""

OURS = "araflow"
ARAFLOW = "import sys, pathlib; from araflow.acquire.archives import unpack; unpack(*map(pathlib.Path, sys.argv[1:]))"

TOOLS: dict[str, list[str]] = {
    "bsdtar": ["bsdtar", "-xf", "{archive}", "-C", "{to}"],
    "unar": ["unar", "-q", "-f", "-D", "-o", "{to}", "{archive}"],
    "unzip": ["unzip", "-q", "{archive}", "-d", "{to}"],
    "tar": ["tar", "-xf", "{archive}", "-C", "{to}"],
}
COMPARED = {
    "rar4": ("bsdtar", "unar"),
    "rar5": ("bsdtar", "unar"),
    "zip": ("unzip", "bsdtar"),
    "tar.gz": ("tar", "bsdtar"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Times:
    """Median seconds for the whole archive, and for one with a single member: what starting takes."""

    whole: float
    start: float

    @property
    def net(self) -> float:
        """Seconds with the start taken away."""
        return self.whole - self.start


def make(folder: Path, members: int) -> tuple[dict[str, Path], int]:
    """Write one archive of each kind; returns them and the bytes of their members."""
    folder.mkdir()
    rng = random.Random(51)
    files = {
        f"class_{number % 51:02}/clip_{number}_f_cm_np1_fr_med_{number}.avi": rng.randbytes(rng.randint(3000, 10_000))
        for number in range(members)
    }
    archives = {kind: folder / f"small.{kind}" for kind in COMPARED}
    archives["rar4"].write_bytes(rar4(files))
    archives["rar5"].write_bytes(rar5(files))
    with zipfile.ZipFile(archives["zip"], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    with tarfile.open(archives["tar.gz"], "w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archives, sum(map(len, files.values()))


def seconds(command: list[str], archive: Path, folder: Path, expected: tuple[int, int]) -> float | None:
    """Time one run; ``None`` where it did not write all members."""
    target = folder / "unpacked"
    if command[0] != sys.executable:
        target.mkdir()
    command = [part.format(archive=archive, to=target) for part in command]
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    taken = time.perf_counter() - start
    written = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    shutil.rmtree(target, ignore_errors=True)
    return taken if (len(written), sum(written)) == expected else None


def measure(folder: Path, members: int, rounds: int) -> dict[str, dict[str, Times | None]]:
    """Return the times of each tool for each kind of archive; tools take turns."""
    many, one = (make(folder / str(number), number) for number in (members, 1))
    times: dict[str, dict[str, Times | None]] = {}
    for kind in COMPARED:
        commands = {OURS: [sys.executable, "-c", ARAFLOW, "{archive}", "{to}"]}
        commands |= {name: TOOLS[name] for name in COMPARED[kind] if shutil.which(name)}
        taken: dict[str, list[tuple[float | None, float | None]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                runs = ((many, members), (one, 1))
                whole, start = (seconds(command, made[0][kind], folder, (count, made[1])) for made, count in runs)
                taken[name].append((whole, start))
        times[kind] = {name: _medians(runs) for name, runs in taken.items()}
    return times


def _medians(runs: list[tuple[float | None, float | None]]) -> Times | None:
    whole, start = ([time for time in column if time is not None] for column in zip(*runs, strict=True))
    return Times(median(whole), median(start)) if len(whole) == len(start) == len(runs) else None


def show(times: dict[str, dict[str, Times | None]], members: int, where: Path) -> None:
    """Print microseconds per member, and each tool's time over araflow's."""
    rows = []
    for kind, row in times.items():
        ours = row[OURS]
        if ours is None:
            raise SystemExit(f"araflow did not unpack all of the {kind}")
        cells = []
        for name in TOOLS:
            if name not in row:
                cells.append("")
            elif (theirs := row[name]) is None:
                cells.append("not all")
            else:
                cells.append(
                    f"{theirs.whole / members * 1e6:.0f}: {theirs.whole / ours.whole:.2f} / {theirs.net / ours.net:.2f}"
                )
        rows.append((kind, f"{ours.whole / members * 1e6:.0f}, apart {ours.net / members * 1e6:.0f}", *cells))
    title = f"µs per member of {members:,} (3 to 10 kB), and over araflow's time: with starts / starts apart"
    Table((*names(""), *figures(OURS, *TOOLS)), rows, title=title).print()
    start = median(ours.start for row in times.values() if (ours := row[OURS]) is not None)
    print(
        f"Start of araflow: {start:.2f} s. araflow verifies every member, and lets none leave its folder. not all: did "
        f"not write every member. Machine: {machine()}. Archives and output in {where}."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=MEMBERS, help="members of each archive (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which the median counts (default: %(default)s)"
    )
    shm = Path("/dev/shm")
    default = shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    parser.add_argument("--out", type=Path, default=default, help="folder to work in (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        show(measure(Path(folder), options.members, options.rounds), options.members, options.out)


if __name__ == "__main__":
    main()
