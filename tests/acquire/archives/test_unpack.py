"""A target appears whole or not at all."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from makers import FILES, KINDS, read, tar_bytes, zip_bytes

from araflow.acquire.archives import open_archive, unpack
from araflow.acquire.archives._output import Output
from araflow.core.errors import ArchiveError
from araflow.core.files import is_draft

each_kind = pytest.mark.parametrize("kind", KINDS)


def test_a_target_that_holds_something_is_refused_and_left_as_it_is(there):
    there.target.mkdir(parents=True)
    (there.target / "mine").write_bytes(b"mine")
    there.archive.write_bytes(zip_bytes(FILES))
    with pytest.raises(ArchiveError, match="it is not an empty folder; name a new one"):
        unpack(there.archive, there.target)
    assert there.read() == {"mine": b"mine"}


def test_a_target_that_is_a_file_is_refused(there):
    there.target.parent.mkdir()
    there.target.write_bytes(b"mine")
    there.archive.write_bytes(zip_bytes(FILES))
    with pytest.raises(ArchiveError, match="it is not an empty folder"):
        unpack(there.archive, there.target)
    assert there.target.read_bytes() == b"mine"


def test_an_empty_target_is_filled(there):
    there.target.mkdir(parents=True)
    assert there(zip_bytes(FILES)) == FILES


def test_an_empty_target_may_be_a_link_or_the_working_folder(there, monkeypatch):
    there.archive.write_bytes(zip_bytes(FILES))
    for number, target in enumerate(("link", ".")):
        real = there.folder / f"real{number}"
        real.mkdir()
        monkeypatch.chdir(real)
        (there.folder / "link").unlink(missing_ok=True)
        (there.folder / "link").symlink_to(real)
        unpack(there.archive, there.folder / "link" if target == "link" else Path(target))
        assert read(real) == FILES


def test_a_target_and_files_have_the_usual_permissions(there):
    before = os.umask(0o027)
    try:
        there(zip_bytes(FILES))
    finally:
        os.umask(before)
    assert there.target.stat().st_mode & 0o777 == 0o750
    assert (there.target / "walk/a.avi").stat().st_mode & 0o777 == 0o640


def test_an_archive_none_of_whose_members_is_wanted_is_an_error(there):
    there.archive.write_bytes(zip_bytes(FILES))
    with pytest.raises(ArchiveError, match="none of its 5 members is wanted"):
        unpack(there.archive, there.target, wants=lambda _: False)
    assert there.beside() == []


@pytest.mark.parametrize("kind", ["zip", "rar4", "rar5"])  # a tar without members is nothing but zeros
def test_an_archive_without_members_gives_an_empty_folder(there, kind):
    assert there(KINDS[kind]({})) == {}


def test_an_archive_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(ArchiveError, match="No such file"):
        unpack(tmp_path / "nothing.zip", tmp_path / "out")


def test_a_place_that_cannot_be_written_to_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.zip").write_bytes(zip_bytes(FILES))
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "file" / "out")


@each_kind
def test_an_interrupt_leaves_nothing(there, kind):
    there.archive.write_bytes(KINDS[kind](FILES))

    def wants(name: str) -> bool:
        if name.startswith("run"):
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        unpack(there.archive, there.target, wants)
    assert there.beside() == []


@each_kind
def test_extract_leaves_its_folder_empty_after_an_error(there, kind):
    data = KINDS[kind](FILES | {"zz.avi": b"0123456789" * 100})
    if kind == "tar":
        data = data.rstrip(b"\0")[:-10]  # cut short: a plain tar has no checksum
    elif kind == "tar.gz":
        data = data[:-4]
    else:
        data = data.replace(b"0123456789", b"0123456788", 1)
    there.archive.write_bytes(data)
    there.target.mkdir(parents=True)
    with open_archive(there.archive) as archive, pytest.raises(ArchiveError):
        archive.extract(lambda _: True, there.target)
    assert list(there.target.iterdir()) == []


def test_extract_wants_an_empty_folder(there):
    there.archive.write_bytes(zip_bytes(FILES))
    there.target.mkdir(parents=True)
    (there.target / "mine").write_bytes(b"mine")
    with open_archive(there.archive) as archive, pytest.raises(ArchiveError, match="is not empty; name a new folder"):
        archive.extract(lambda _: True, there.target)
    assert there.read() == {"mine": b"mine"}


def test_what_a_killed_run_left_is_cleared_away_but_not_what_another_is_doing(there):
    there.archive.write_bytes(tar_bytes(FILES))
    code = f"""
import pathlib, time
from araflow.acquire.archives import unpack
def wants(name):
    if name.startswith("run"):
        print("there", flush=True)
        time.sleep(60)
    return True
unpack(pathlib.Path({str(there.archive)!r}), pathlib.Path({str(there.target)!r}), wants)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    (beside,) = there.beside()
    assert is_draft(beside)
    mine = [".unpacked.backup.part", f".araflow-{'0' * 32}.draft", "unpacked.part"]
    for name in mine:
        (there.target.parent / name).mkdir()
        (there.target.parent / name / "mine").write_text("precious")
    unpack(there.archive, there.target)
    assert there.beside() == sorted([*mine, beside, "unpacked"])  # it is being worked on

    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    with pytest.raises(ArchiveError, match="not an empty folder"):
        unpack(there.archive, there.target)
    there.target.rename(there.folder / "away")
    unpack(there.archive, there.target)
    assert there.beside() == sorted([*mine, "unpacked"])
    assert all((there.target.parent / name / "mine").read_text() == "precious" for name in mine)
    assert there.read() == FILES


def test_of_two_at_once_one_wins_and_the_other_says_so(there):
    there.archive.write_bytes(tar_bytes(FILES))
    barrier = threading.Barrier(2, timeout=20)
    results = []

    def wants(name: str) -> bool:
        if name == "-x.avi":
            barrier.wait()
        return True

    def run() -> None:
        try:
            results.append(unpack(there.archive, there.target, wants))
        except ArchiveError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (error,) = [result for result in results if isinstance(result, ArchiveError)]
    assert "not empty" in str(error)
    assert there.beside() == ["unpacked"]
    assert there.read() == FILES


def test_no_more_than_a_member_declares_is_ever_written(tmp_path):
    output = Output(tmp_path / "archive", tmp_path)
    endless = iter(lambda: bytes(1000), None)
    with pytest.raises(ArchiveError, match="member 'a' is longer than the 4,500 bytes it declares"):
        output.write("a", 4500, endless)
    assert (tmp_path / "a").stat().st_size == 4000


def test_a_target_is_there_only_when_it_is_complete(there):
    there.archive.write_bytes(tar_bytes({f"{number}.avi": bytes(1000) for number in range(2000)}))
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if there.target.exists():
                seen.add(len(read(there.target)))
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    unpack(there.archive, there.target)
    time.sleep(0.05)
    done.set()
    thread.join()
    assert seen == {2000}
