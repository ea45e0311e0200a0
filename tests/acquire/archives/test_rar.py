"""RAR archives whose members are stored: read without any tool."""

import os
import random
import subprocess
import sys

import pytest
from makers import FILES, read
from rar_writer import FOLDER, Entry, rar4, rar5, volumes

from araflow.acquire.archives import open_archive, unpack
from araflow.core.errors import ArchiveError

both = pytest.mark.parametrize("write", [rar4, rar5])
generations = pytest.mark.parametrize("generation", [4, 5])


@pytest.fixture(autouse=True)
def no_tools(tools):
    """Whatever is done here is done without one."""


@both
def test_no_tool_and_no_other_process_is_needed(there, monkeypatch, write):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a process"))
    assert there(write(FILES)) == FILES
    assert there.done.how == "rarfile"


@both
def test_stored_members_of_a_solid_archive_are_had_singly(there, write):
    there.archive.write_bytes(write([Entry("a", b"1"), Entry("b", b"2", solid=True)], solid=True))
    with open_archive(there.archive) as archive:
        assert archive.random_access
        archive.extract(lambda name: name == "b", there.target)
    assert read(there.target) == {"b": b"2"}


@both
def test_compressed_members_of_a_solid_archive_are_not(there, write):
    packed = [Entry("a", b"1", method=0x33), Entry("b", b"2", method=0x33, solid=True)]
    for solid, random_access in ((True, False), (False, True)):
        there.archive.write_bytes(write([packed[0], *([packed[1]] if solid else [])], solid=solid))
        with open_archive(there.archive) as archive:
            assert archive.random_access == random_access


# --- damage ---


@both
def test_a_flipped_bit_in_stored_data_is_found(there, write):
    data = bytearray(write({"walk/a.avi": b"0123456789" * 100}))
    data[data.index(b"0123") + 500] ^= 1
    there.refuses(bytes(data), r"member 'walk/a\.avi' is damaged: its checksum differs")


def test_a_flipped_bit_is_found_by_blake2sp_too(there):
    data = bytearray(rar5([Entry("walk/a.avi", b"0123456789" * 100, blake2=True)]))
    data[data.index(b"0123") + 500] ^= 1
    there.refuses(bytes(data), r"member 'walk/a\.avi' is damaged: its checksum differs")


@both
def test_a_member_whose_declared_crc_is_wrong_is_refused(there, write):
    there.refuses(write([Entry("walk/a.avi", b"data", crc32=1)]), "its checksum differs")


@both
@pytest.mark.parametrize("size", [3, 5, 1 << 40])
def test_a_stored_member_whose_size_is_a_lie_is_refused(there, write, size):
    there.refuses(write([Entry("walk/a.avi", b"data", size=size)]), "is stored in 4 bytes, its header says")


@both
def test_every_truncation_is_refused(there, write):
    data = write({"walk/a.avi": b"a" * 50, "walk/b.avi": b"b" * 50})
    ends = {data.rindex(letters * 50) + 50 for letters in (b"a", b"b")}  # as if it had no end mark
    for size in range(8, len(data)):
        if size not in ends:
            there.refuses(data[:size], "cut short|damaged")


@both
def test_one_without_an_end_mark_is_taken_and_said_to_have_none(there, write):
    assert there(write(FILES, end=False)) == FILES
    (remark,) = there.done.remarks
    assert remark.startswith("it has no end mark: if it was cut short")


def test_an_old_rar_without_end_mark_is_taken_if_nothing_is_missing(there, tmp_path):
    data = rar4([Entry("walk/a.avi", b"a" * 50, times=False)], end=False)
    there.refuses(data[:-1], "it ends within its last member")
    assert there(data) == {"walk/a.avi": b"a" * 50}
    assert there.done.remarks == []


@both
def test_what_follows_the_end_mark_is_ignored(there, write):
    assert there(write(FILES) + b"a signature, or padding" * 100) == FILES


@both
def test_any_flipped_bit_is_found(tmp_path, write):
    data = write([Entry("walk", mode=FOLDER), Entry("walk/a.avi", b"a"), Entry("walk/b.avi", b"b")])
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "archive"
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError):
            unpack(path, tmp_path / "out")


def test_a_member_that_damage_has_turned_into_another_kind_of_header_is_missed(there):
    data = bytearray(rar4({"walk/a.avi": b"a", "walk/b.avi": b"b"}))
    where = data.index(b"walk\\b.avi") - 32 + 2
    assert data[where] == 0x74
    data[where] = 0x72  # whose checksum rarfile does not look at
    there.refuses(bytes(data), "a header is not what it should be")


def test_real_archives_damaged_at_random_give_verified_bytes_or_our_error(real_data, tmp_path):
    rng = random.Random(6)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "archive"
    right, refused = 0, 0
    for real in sorted((real_data / "rar").glob("*.rar")):
        data = real.read_bytes()
        for number in range(100):
            damaged = bytearray(data)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(min(len(data), 2000))] = rng.randrange(256)
            path.write_bytes(damaged)
            try:
                unpack(path, tmp_path / f"{real.name}{number}")
                right += 1
            except ArchiveError:
                refused += 1
    assert refused > 600
    assert refused + right == 700


@both
def test_a_comment_starts_no_tool_and_hinders_nothing(there, write, monkeypatch):
    """rarfile would unpack a compressed comment with whatever it finds."""
    from rar_writer import _block4, _block5, _member4, _member5

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started a process"))
    whole = write({"walk/a.avi": b"a"})
    comment = Entry("CMT", b"compressed nonsense", size=100, method=0x33)
    if write is rar4:
        block = _member4(comment, comment.data, False, False)
        block = _block4(0x7A, int.from_bytes(block[3:5], "little"), block[7 : -len(comment.data)], comment.data)
        at = 7 + 13
    else:
        block = _member5(comment, comment.data, False, False)
        body = block[4 : -len(comment.data)]
        assert body[1] == 2
        block = _block5(3, 0, body[4:], b"", comment.data)
        at = 8 + 4 + 1 + body.__class__([whole[12]])[0]
    assert there(whole[:at] + block + whole[at:]) == {"walk/a.avi": b"a"}


def test_earlier_versions_that_are_kept_beside_a_file_are_left_alone(there):
    old = Entry("walk/a.avi;1", b"old", flags=0x0800)
    assert there(rar4([old, Entry("walk/a.avi", b"new")])) == {"walk/a.avi": b"new"}


# --- refused with the reason ---


def test_what_cannot_be_verified_is_refused(there):
    there.refuses(rar5([Entry("walk/a.avi", b"a", unchecked=True)]), "has no checksum, so it cannot be verified")
    there.refuses(rar5([Entry("walk/a.avi", b"a", flags=0x08)]), "has no size in its header, so it cannot be verified")


@both
def test_an_encrypted_member_is_refused(there, write):
    there.refuses(write([Entry("walk/a.avi", b"data", encrypted=True)]), "encrypted; araflow takes no passwords")


def test_encrypted_headers_are_refused(there):
    from rar_writer import RAR4_MARK, RAR5_MARK, _block4, _block5

    there.refuses(RAR4_MARK + _block4(0x73, 0x0080, bytes(6)) + bytes(100), "encrypted")
    there.refuses(RAR5_MARK + _block5(4, 0, bytes([0, 0, 15]) + bytes(16)) + bytes(100), "encrypted")


@pytest.mark.parametrize("link_type", [1, 2, 3])
def test_links_of_rar5_are_left_out_and_named(there, link_type):
    entries = [Entry("walk/a.avi", b"a"), Entry("walk/b.avi", link="walk/a.avi", link_type=link_type)]
    assert there(rar5(entries)) == {"walk/a.avi": b"a"}
    assert there.done.left_out == {"walk/b.avi": "a symbolic link"}


@pytest.mark.parametrize("link_type", [4, 5])
def test_hard_links_and_copies_of_rar5_have_the_content_of_their_original(there, link_type):
    entries = [
        Entry("walk/a.avi", b"a"),
        Entry("run/b.avi", link="walk/a.avi", link_type=link_type),
        Entry("c.avi", link="run/b.avi", link_type=link_type),
        Entry("out.avi", link="../secret", link_type=link_type),
        Entry("d.avi", link="nowhere", link_type=link_type),
    ]
    data = rar5(entries)
    assert there(data) == dict.fromkeys(("walk/a.avi", "run/b.avi", "c.avi"), b"a")
    assert set(there.done.left_out) == {"out.avi", "d.avi"}
    assert all(path.stat().st_nlink == 1 for path in there.target.rglob("*.avi"))
    there.target = there.folder / "out2" / "unpacked"
    assert there(data, wants=lambda name: name == "c.avi") == {"c.avi": b"a"}
    assert there.everything() == ["c.avi"]


def test_a_copy_that_declares_other_content_is_refused(there):
    entries = [Entry("a.avi", b"a"), Entry("b.avi", link="a.avi", link_type=5, size=2)]
    there.refuses(rar5(entries), "member 'b.avi' is a copy of 'a.avi', and declares other content")


@both
def test_a_rar_behind_a_program_is_taken(there, write):
    for number, program in enumerate((b"MZ" + bytes(300_000), b"\x7fELF" + bytes(5000), b"#!/bin/sh\nexit\n")):
        there.target = there.folder / f"out{number}" / "unpacked"
        assert there(program + write(FILES)) == FILES
    there.target = there.folder / "out" / "unpacked"
    there.refuses(b"MZ" + bytes(5000) + write(FILES)[:-300], "cut short|damaged")
    there.refuses(b"RIFF" + bytes(5000) + write(FILES), "not a zip, tar or RAR archive")


def test_a_name_of_rar4_that_is_not_utf8_is_read_as_windows_writes_it_unless_said_otherwise(there):
    assert there(rar4([Entry("L\u00e4ufe.avi".encode("latin-1"), b"a")])) == {"L\u00e4ufe.avi": b"a"}
    assert "read as windows-1252" in there.done.remarks[0]
    there.target = there.folder / "out2" / "unpacked"
    assert there(rar4([Entry("\u8d70.avi".encode("cp932"), b"a")]), encoding="cp932") == {"\u8d70.avi": b"a"}
    assert there.done.remarks == []


# --- volumes ---


def save(folder, parts):
    paths = [folder / f"x.part{number}.rar" for number in range(1, len(parts) + 1)]
    for path, data in zip(paths, parts, strict=True):
        path.write_bytes(data)
    return paths


@generations
@pytest.mark.parametrize("limit", [9_000, 20_000, 89_999])
def test_volumes_are_read_as_one_archive(tmp_path, generation, limit):
    paths = save(tmp_path, volumes(generation, FILES, limit))
    assert len(paths) > 1
    done = unpack(paths[0], tmp_path / "out")
    assert read(tmp_path / "out") == FILES
    assert done.kind == f"rar{generation}"


@generations
def test_a_missing_volume_is_named(tmp_path, generation):
    paths = save(tmp_path, volumes(generation, FILES, 20_000))
    for missing in paths[1:]:
        missing.rename(tmp_path / "away")
        with pytest.raises(ArchiveError, match=f"a volume is missing: .*{missing.name}"):
            unpack(paths[0], tmp_path / "out")
        (tmp_path / "away").rename(missing)


@generations
def test_a_later_volume_says_that_it_is_one(tmp_path, generation):
    paths = save(tmp_path, volumes(generation, FILES, 20_000))
    for path in paths[1:]:
        with pytest.raises(ArchiveError, match="a later volume of an archive in several; name the first"):
            unpack(path, tmp_path / "out")


@generations
def test_damage_in_any_volume_is_found(tmp_path, generation):
    paths = save(tmp_path, volumes(generation, FILES, 20_000))
    for number, path in enumerate(paths):
        data = path.read_bytes()
        path.write_bytes(data[:10_000] + bytes([data[10_000] ^ 1]) + data[10_001:])
        with pytest.raises(ArchiveError, match="its checksum differs"):
            unpack(paths[0], tmp_path / f"out{number}")
        path.write_bytes(data)


def test_the_writers_archives_are_what_other_programs_take_for_rar(tmp_path, need, monkeypatch):
    """Else all of these tests would only show that reader and writer share their errors."""
    monkeypatch.setenv("PATH", os.defpath)
    need("bsdtar")
    for write in (rar4, rar5):
        (tmp_path / "x.rar").write_bytes(write(FILES))
        target = tmp_path / write.__name__
        target.mkdir()
        command = ["bsdtar", "-x", "-f", str(tmp_path / "x.rar"), "-C", str(target)]
        subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert read(target) == FILES


def test_importing_the_package_starts_nothing_heavy():
    names = ("numpy", "cv2", "av", "pyarrow", "rich", "httpx")
    code = f"import sys, araflow.acquire.archives; print([name for name in {names} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
