"""What surrounds a command is gone, full or closed: a line, or nothing at all, and never a clip less."""

import errno
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from inline_world import araflow
from unreadable import as_nobody

from araflow.acquire.types import Sources
from araflow.build import stages
from araflow.build.resolved import resolve
from araflow.cli import surroundings
from araflow.core import spec_file
from araflow.core.errors import AraflowError, OutputError, SourceError
from araflow.store.address import open_store

COMMAND = f"{shlex.quote(sys.executable)} -m araflow"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which ``araflow`` is the command."""
    return subprocess.run(
        ["bash", "-c", f'araflow() {{ {COMMAND} "$@"; }}; {line}'], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("command", ["status out", "--help"])
def test_output_that_cannot_be_written_is_a_line_and_a_status(made: Path, command: str):
    result = shell(f"araflow {command} > /dev/full", made)
    assert (result.returncode, result.stderr) == (
        1,
        "error: standard output cannot be written: No space left on device\n",
    )


def test_a_log_that_cannot_be_written_stops_nothing(made: Path, tmp_path: Path):
    result = shell(f"araflow flow videos --out {tmp_path}/out --preset fastest --workers 1 2> /dev/full", made)
    assert (result.returncode, "2 clips listed: 2 done" in result.stdout) == (0, True)


@pytest.mark.proof
def test_streams_that_are_closed_are_taken_by_no_file(made: Path, tmp_path: Path):
    result = shell(f"araflow flow videos --out {tmp_path}/out --preset fastest --workers 1 <&- >&- 2>&-", made)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "out/manifest.parquet").read_bytes() == (made / "out/manifest.parquet").read_bytes()


def test_a_reader_that_has_seen_enough_is_no_error(made: Path):
    result = shell("araflow manifest show out --json --clips | head -c 1; echo ${PIPESTATUS[0]}", made)
    assert (result.stdout[0], result.stderr) == ("{", "")


def test_a_working_folder_that_is_gone_is_a_line(made: Path, tmp_path: Path):
    (tmp_path / "gone").mkdir()
    for command in (
        f"status {made}/out",
        f"build folder dataset.source={made}/videos out={tmp_path}/out",
        "plan hmdb5",
    ):
        (tmp_path / "gone").mkdir(exist_ok=True)
        result = shell(f"rmdir ../gone; araflow {command}", tmp_path / "gone")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: the working folder is gone")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)])
def test_a_signal_leaves_no_half_made_clip(made: Path, tmp_path: Path, number: int):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "araflow", "flow", str(made / "videos"), "--out", str(out), "--preset", "accurate"]
    with subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list(out.glob(".araflow/work/*/*/rgb")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        said = process.communicate()[1].decode()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert not (out / ".araflow" / "work").exists()
    assert shell(f"araflow status {out}", made).stdout.splitlines()[-1].startswith("stopped: 2 clips listed")


def test_a_folder_of_the_source_that_may_not_be_read_is_a_line():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "walk").mkdir(mode=0)
        spec = spec_file.load("folder", [f"dataset.source={name}", "split.protocol=random", f"out={name}/out"])
        inside = spec_file.load("folder", [f"dataset.source={name}/walk/x", "split.protocol=random", f"out={name}/out"])
        with as_nobody():
            with pytest.raises(SourceError, match=f"^{name}/walk: Permission denied$"):
                stages.prepare(resolve(spec), open_store(spec.out))
            with pytest.raises(SourceError, match=f"^{name}/walk: Permission denied$"):
                stages.select(resolve(spec), Sources(Path(name), None))
            with pytest.raises(SourceError, match=f"^{name}/walk/x: Permission denied$"):
                resolve(inside)


def test_a_clip_folder_that_cannot_be_read_is_a_difference_and_the_others_are_looked_at(made: Path, tmp_path: Path):
    out = Path(shutil.copytree(made / "out", tmp_path / "out"))
    rgb = next(out.glob("clips/run/*/rgb"))
    shutil.rmtree(rgb)
    rgb.symlink_to("rgb")  # the system says no, also to root
    next(out.glob("clips/walk/*/u/0000.jpg")).unlink()
    result = araflow("manifest", "validate", out)
    assert result.exit_code == 1
    first, *others = result.stdout.splitlines()
    assert first.startswith(f"{rgb.parent.relative_to(out / 'clips')}: ") and "cannot be read" in first
    assert any(line.startswith("walk/") and "u holds" in line for line in others)


def test_who_only_looks_keeps_no_run_from_its_start(tmp_path: Path):
    with open_store(tmp_path).locked():
        pass
    lock = os.open(tmp_path / ".araflow" / "lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # as is_running does, for an instant
    looking = threading.Timer(0.2, os.close, (lock,))
    looking.start()
    with open_store(tmp_path).locked():
        looking.join()
        with pytest.raises(OutputError, match="another araflow run is writing here"), open_store(tmp_path).locked():
            pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("can't start new thread"), "no thread can be started: raise ulimit -u or -v"),
        (MemoryError("Unable to allocate 2 GiB"), "not enough memory (Unable to allocate 2 GiB)"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory to load a library: libx"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_machine_has_not_is_a_line(error: Exception, said: str):
    with pytest.raises(AraflowError, match=re.escape(said)), surroundings.explained():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("a fault"), ImportError("no module"), KeyError("x")])
def test_a_fault_of_araflows_own_is_not_explained_away(error: Exception):
    with pytest.raises(type(error)), surroundings.explained():
        raise error
