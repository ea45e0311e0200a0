"""Compressed RAR members, unpacked by whatever tool is here; whatever it does, only right bytes come out."""

import dataclasses
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from makers import packed, read
from rar_writer import FOLDER, Entry, rar4, rar5, volumes

from araflow.acquire.archives import _rar_tools, _subprocess, unpack
from araflow.core.errors import ArchiveError

REAL_UNRAR = 'case $# in 0) echo "UNRAR 7.00 freeware  Copyright (c) 1993-2024 Alexander Roshal"; exit;; esac;'


@pytest.fixture
def html(real_data):
    """A page of 20 kB that RAR 3 has compressed."""
    return packed(real_data / "rar" / "test_read_format_rar_compress_normal.rar", "LibarchiveAddingTest.html")


@pytest.fixture
def binary(real_data):
    """1,200 bytes that RAR 5 has compressed."""
    return packed(real_data / "rar" / "test_read_format_rar5_compressed.rar", "test.bin")


NAMES = ["walk/a.avi", "walk/-[b] (#&+;~!)_*.avi", "walk/-[b] (#&+;~!)_xx.avi", "-run.avi", "d é 日本/^x$.avi", "?"]


def write(tmp_path, generation, entry):
    """Write compressed and stored members, folders, and names that are patterns to a shell."""
    entries = [Entry("walk", mode=FOLDER), Entry("stored.avi", b"stored")]
    entries += [dataclasses.replace(entry, name=name) for name in NAMES]
    path = tmp_path / "in" / "-archive.rar"
    path.parent.mkdir()
    path.write_bytes({4: rar4, 5: rar5}[generation](entries))
    return path, NAMES, entry, generation


@pytest.fixture(params=[4, 5])
def archive(request, html, binary, tmp_path):
    """One that any tool can unpack."""
    return write(tmp_path, request.param, html if request.param == 4 else binary)


@pytest.fixture(params=[4, 5])
def nonsense(request, tmp_path):
    """One that only claims to be compressed, for tools that would be wrong in any case."""
    return write(tmp_path, request.param, Entry("", b"nonsense", size=1200, crc32=1, method=0x33))


def right(found: dict[str, bytes], names, entry) -> bool:
    sums = {name: (len(data), zlib.crc32(data)) for name, data in found.items() if name != "stored.avi"}
    return sums == dict.fromkeys(names, (entry.size, entry.crc32)) and found.get("stored.avi", b"stored") == b"stored"


def nothing_left(tmp_path) -> bool:
    return not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


each_tool = pytest.mark.parametrize(
    "tool", [pytest.param("unar", marks=pytest.mark.unar), pytest.param("bsdtar", marks=pytest.mark.bsdtar)]
)


@each_tool
def test_a_tool_alone_unpacks_all(archive, tools, tool, tmp_path):
    path, names, entry, generation = archive
    tools(tool)
    done = unpack(path, tmp_path / "out")
    assert right(read(tmp_path / "out"), names, entry)
    assert (done.files, done.kind, done.how) == (len(names) + 1, f"rar{generation}", f"{tool}, rarfile")


@each_tool
def test_a_tool_is_asked_only_for_what_is_wanted(archive, tools, tool, tmp_path):
    path, names, entry, _ = archive
    tools(tool)
    for number, wanted in enumerate([["walk/a.avi"], [names[1]], [names[3]], [names[4], names[5]], names[1:3]]):
        target = tmp_path / f"out{number}"
        done = unpack(path, target, wants=wanted.__contains__)
        assert right(read(target), wanted, entry)
        assert (done.how, done.declined) == (tool, len(names) + 1 - len(wanted))


def test_a_name_that_bsdtar_takes_for_a_pattern_is_not_given_to_it():
    header = _rar_tools.Header("", 0, 0, 0, None, False, False, ())
    for name in ("a*", "a?", "[a]", "^a", "a$", "a\\b"):
        assert not _rar_tools.BSDTAR.selects([dataclasses.replace(header, name=name)])
    assert _rar_tools.BSDTAR.selects([dataclasses.replace(header, name="-a (#&+;~!)@.avi")])


def test_stored_members_need_no_tool_though_others_do(nonsense, tools, tmp_path):
    unpack(nonsense[0], tmp_path / "out", wants=lambda name: name == "stored.avi")
    assert read(tmp_path / "out") == {"stored.avi": b"stored"}


def test_without_any_tool_the_package_to_install_is_named(nonsense, tools, tmp_path):
    with pytest.raises(ArchiveError, match=r"'walk/a\.avi' is compressed .* no tool .* apt install .*\bunar\b"):
        unpack(nonsense[0], tmp_path / "out")
    assert nothing_left(tmp_path)


@pytest.mark.unar
@pytest.mark.parametrize("generation", [4, 5])
def test_compressed_members_are_unpacked_from_volumes(request, tools, tmp_path, generation):
    entry = request.getfixturevalue("html" if generation == 4 else "binary")
    names = ["walk/a.avi", "walk/b.avi"]
    entries = [dataclasses.replace(entry, name=name) for name in names]
    parts = volumes(generation, entries, len(entry.data) * 2 // 3)
    assert len(parts) > 2
    for number, data in enumerate(parts, 1):
        (tmp_path / f"x.part{number}.rar").write_bytes(data)
    tools("unar")
    assert unpack(tmp_path / "x.part1.rar", tmp_path / "out").how == "unar"
    assert right(read(tmp_path / "out"), names, entry)


# --- tools that are wrong ---

WRONG = {
    "writes nothing and says that all is well": ("exit 0", "was not written"),
    "fails": ("echo 'something is broken' >&2; exit 7", "was not written"),
    "writes wrong bytes of the right size and says that all is well": (
        'mkdir walk; head -c "$SIZE" /dev/zero > walk/a.avi; exit 0',
        "has other bytes: the checksum differs",
    ),
    "writes too little": ("mkdir walk; echo x > walk/a.avi", "has 2 bytes, its header says"),
    "writes a link to a file elsewhere": ('mkdir walk; ln -s "$SECRET" walk/a.avi', "is not a regular file"),
    "writes a folder that is a link": ('ln -s "$(dirname "$SECRET")" walk', "is not a regular file"),
    "links to a file that is not its own": ('mkdir walk; ln "$SECRET" walk/a.avi', "has other bytes"),
    "takes the permissions": (
        "mkdir walk; echo x > walk/a.avi; chmod 0 walk/a.avi walk",
        "has 2 bytes|was not written",
    ),
    "kills itself": ("kill -9 $$", "was not written"),
}
wrong = pytest.mark.parametrize(("script", "reason"), WRONG.values(), ids=WRONG.keys())


@wrong
def test_a_tool_that_is_wrong_is_found_out(nonsense, tools, tmp_path, monkeypatch, script, reason):
    path, _, entry, _ = nonsense
    secret = tmp_path / "elsewhere" / "a.avi"
    secret.parent.mkdir()
    secret.write_bytes(bytes(entry.size))
    secret.chmod(0o600)
    monkeypatch.setenv("SIZE", str(entry.size))
    monkeypatch.setenv("SECRET", str(secret))
    tools(unar=script)
    with pytest.raises(ArchiveError, match=rf"unar \(exit status .*\): 6 of 6 members wrong: 'walk/a.avi' ({reason})"):
        unpack(path, tmp_path / "out")
    assert nothing_left(tmp_path)
    assert secret.read_bytes() == bytes(entry.size)
    assert secret.stat().st_mode & 0o777 == 0o600


def test_an_empty_member_is_not_read_from_a_pipe(tools, tmp_path):
    (tmp_path / "x.rar").write_bytes(rar4([Entry("a", b"nonsense", size=0, crc32=0, method=0x33)]))
    tools(unar="mkfifo a")  # to open it would wait for ever
    with pytest.raises(ArchiveError, match="'a' is not a regular file"):
        unpack(tmp_path / "x.rar", tmp_path / "out")


def test_the_error_says_what_each_tool_did(nonsense, tools, tmp_path):
    tools(unar=WRONG["fails"][0], bsdtar="exit 0")
    with pytest.raises(ArchiveError) as caught:
        unpack(nonsense[0], tmp_path / "out")
    text = str(caught.value)
    assert "unar (exit status 7, 'something is broken'): 6 of 6 members wrong: 'walk/a.avi' was not written" in text
    assert "bsdtar (exit status 0): 6 of 6 members wrong" in text


@pytest.mark.bsdtar
@wrong
def test_the_next_tool_puts_right_what_the_first_did_wrong(html, tools, tmp_path, monkeypatch, script, reason):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.avi").write_bytes(bytes(html.size))
    monkeypatch.setenv("SIZE", str(html.size))
    monkeypatch.setenv("SECRET", str(tmp_path / "elsewhere" / "a.avi"))
    (tmp_path / "x.rar").write_bytes(rar4([dataclasses.replace(html, name="walk/a.avi")]))
    tools("bsdtar", unar=script)
    done = unpack(tmp_path / "x.rar", tmp_path / "out")
    assert right(read(tmp_path / "out"), ["walk/a.avi"], html)
    assert done.how == "bsdtar"


@pytest.mark.bsdtar
def test_what_one_tool_got_right_is_not_asked_of_the_next(html, tools, tmp_path):
    names = ["walk/a.avi", "walk/b.avi"]
    (tmp_path / "x.rar").write_bytes(rar4([dataclasses.replace(html, name=name) for name in names]))
    tools("bsdtar", unar='bsdtar -xf "$9" walk/a.avi 2>/dev/null || bsdtar -xf "$8" walk/a.avi; echo x > walk/b.avi')
    assert unpack(tmp_path / "x.rar", tmp_path / "out").how == "unar, bsdtar"
    assert right(read(tmp_path / "out"), names, html)


@pytest.mark.bsdtar
def test_unrar_comes_first_where_it_is_the_real_one(archive, tools, tmp_path):
    path, names, entry, _ = archive
    # $7 is the archive, $8 the folder; RARLAB's is not free software, so another plays its part
    tools("bsdtar", unrar=f'{REAL_UNRAR} exec bsdtar -xf "$7" -C "$8"')
    assert unpack(path, tmp_path / "out").how == "unrar, rarfile"
    assert right(read(tmp_path / "out"), names, entry)


@pytest.mark.bsdtar
def test_another_program_that_is_called_unrar_is_not_taken_for_it(archive, tools, tmp_path):
    tools("bsdtar", unrar="echo unrar-free")
    assert unpack(archive[0], tmp_path / "out").how == "bsdtar, rarfile"


ENDLESS = {
    "in one file": "head -c 200000000 /dev/zero > big; sleep 60",
    "as messages": "head -c 200000000 /dev/zero; sleep 60",
    "in many files": "while :; do head -c 100000 /dev/zero > $((n+=1)); done",
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_tool_that_writes_without_end_is_stopped(nonsense, tools, tmp_path, script):
    tools(unar=script)
    start = time.monotonic()
    with pytest.raises(ArchiveError, match=r"stopped: it wrote more than the [\d,]+ bytes"):
        unpack(nonsense[0], tmp_path / "out")
    assert time.monotonic() - start < 20
    assert nothing_left(tmp_path)


def test_a_tool_that_writes_nothing_for_too_long_is_stopped(nonsense, tools, tmp_path, monkeypatch):
    monkeypatch.setattr(_subprocess, "_STALL_S", 0.3)
    tools(unar="sleep 60")
    with pytest.raises(ArchiveError, match="stopped: it wrote nothing for"):
        unpack(nonsense[0], tmp_path / "out")
    assert nothing_left(tmp_path)


def test_a_tool_runs_in_a_locale_that_knows_all_letters(nonsense, tools, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    tools(unar='echo "$LC_ALL"')
    with pytest.raises(ArchiveError, match=r"unar \(exit status 0, 'C.UTF-8'\)"):
        unpack(nonsense[0], tmp_path / "out")


def test_a_tool_cannot_ask(nonsense, tools, tmp_path):
    tools(unar='read answer; read answer < /dev/tty; echo "asked: $answer"; exit 1')
    with pytest.raises(ArchiveError, match=r"unar \(exit status 1, 'asked:'\)"):
        unpack(nonsense[0], tmp_path / "out")


def test_an_interrupt_kills_a_tool_that_hangs_and_all_it_has_started(nonsense, tools, tmp_path):
    tools(unar=f"sleep 100 & echo $! $$ > {tmp_path}/pids; wait")
    code = "import sys, pathlib; from araflow.acquire.archives import unpack; unpack(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler); {code}"]
    process = subprocess.Popen([*command, nonsense[0], tmp_path / "out"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().strip())
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert said.rstrip().endswith("KeyboardInterrupt")
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert nothing_left(tmp_path)


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@each_tool
def test_damaged_compressed_data_is_never_taken_for_right(archive, tools, tool, tmp_path):
    path, _, entry, _ = archive
    tools(tool)
    data = path.read_bytes()
    where = data.index(entry.data)
    for number, offset in enumerate((0, 50, 200, len(entry.data) - 5)):
        path.write_bytes(data[: where + offset] + bytes([data[where + offset] ^ 4]) + data[where + offset + 1 :])
        with pytest.raises(ArchiveError, match=f"no tool here wrote what its header declares:\n  {tool}"):
            unpack(path, tmp_path / f"out{number}", wants=lambda name: name == "walk/a.avi")
